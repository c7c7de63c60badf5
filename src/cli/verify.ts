import { Command } from "commander";
import { quantity, shortPath } from "./format.js";
import { type GlobalOptions, interruptSignal, openStore, reporterFor } from "./globals.js";

export function verifyCommand(): Command {
  return new Command("verify")
    .description("read every state and check it against the catalog; exit code 1 if anything is wrong")
    .action(async (_: unknown, command: Command) => {
      const flags = command.optsWithGlobals<GlobalOptions>();
      const reporter = reporterFor(flags);
      const store = await openStore(flags);
      const report = await store.verify({
        signal: interruptSignal(),
        onProgress: ({ done, total }) => reporter.progress("verifying", { done, total, unit: "passages" }),
      });
      reporter.progressDone();
      const lines = report.problems.map(({ id, source, problem }) => `${id}  ${shortPath(source)}: ${problem}\n`);
      const checked = `${quantity(report.passages, "passages")} in ${quantity(report.states, "states")}`;
      const { length: left } = report.orphans;
      const orphans =
        left > 0 ? ` For \`picaso gc\` to remove: ${quantity(left, "files")} that nothing refers to.` : "";
      const verdict = lines.length === 0 ? "all whole" : `${lines.length} wrong; index their documents again`;
      reporter.result(report, `${lines.join("")}${checked}: ${verdict}.${orphans}\n`);
      if (lines.length > 0) process.exitCode = 1;
      await store.close();
    });
}
