import { Command } from "commander";
import { quantity } from "./format.js";
import { type GlobalOptions, openStore, reporterFor } from "./globals.js";

export function rmCommand(): Command {
  return new Command("rm")
    .description("remove documents and their states from the store (the files themselves stay)")
    .argument("<source...>", "documents as `picaso ls` names them, files, or folders")
    .action(async (sources: string[], _: unknown, command: Command) => {
      const flags = command.optsWithGlobals<GlobalOptions>();
      const reporter = reporterFor(flags);
      const store = await openStore(flags);
      const removed = await store.resolveSources(sources);
      await store.removeDocuments(removed);
      reporter.result({ removed }, `Removed ${quantity(removed.length, "documents")}.\n`);
      await store.close();
    });
}
