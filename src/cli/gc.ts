import { Command } from "commander";
import { bytes, quantity } from "./format.js";
import { type GlobalOptions, numberWithin, openStore, reporterFor } from "./globals.js";

interface GcFlags extends GlobalOptions {
  olderThan: number;
}

export function gcCommand(): Command {
  return new Command("gc")
    .description("remove states that no passage refers to, and what interrupted runs left behind")
    .option(
      "--older-than <minutes>",
      "spare younger files: a run that is under way may be about to list them",
      numberWithin(0, 1e9),
      60,
    )
    .action(async (_: unknown, command: Command) => {
      const flags = command.optsWithGlobals<GcFlags>();
      const reporter = reporterFor(flags);
      const store = await openStore(flags);
      const report = await store.gc({ olderThanMs: flags.olderThan * 60_000 });
      const { removed, bytes: freed, spared } = report;
      const left = spared > 0 ? ` ${quantity(spared, "files")} younger than ${flags.olderThan} minutes stay.` : "";
      reporter.result(report, `Removed ${quantity(removed, "files")}, ${bytes(freed)}.${left}\n`);
      await store.close();
    });
}
