import { Command } from "commander";
import { type GlobalOptions, reporterFor } from "./globals.js";

export function doctorCommand(): Command {
  return new Command("doctor")
    .description("check that everything the program needs works on this machine")
    .action(async (_: unknown, command: Command) => {
      const flags = command.optsWithGlobals<GlobalOptions>();
      const reporter = reporterFor(flags);
      const { examine } = await import("./examine.js");
      const findings = await examine(flags);
      const lines = findings.map(({ ok, check, finding }) => `${ok ? "ok  " : "FAIL"}  ${check}: ${finding}\n`);
      reporter.result(findings, lines.join(""));
      if (findings.some(({ ok }) => !ok)) process.exitCode = 1;
    });
}
