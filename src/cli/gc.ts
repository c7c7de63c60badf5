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
      const { removed, bytes: freed, catalogBytes, spared } = report;
      const age = quantity(flags.olderThan, "minutes");
      const left = spared > 0 ? ` ${quantity(spared, "files")} changed in the last ${age} and stayed.` : "";
      reporter.result(
        report,
        `Removed ${quantity(removed, "files")}, ${bytes(freed)}, and ${bytes(catalogBytes)} of the catalog's history.${left}\n`,
      );
      await store.close();
    });
}
