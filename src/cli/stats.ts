import { Command } from "commander";
import { bytes, table } from "./format.js";
import { type GlobalOptions, openStore, reporterFor } from "./globals.js";

export function statsCommand(): Command {
  return new Command("stats").description("what the store holds").action(async (_: unknown, command: Command) => {
    const flags = command.optsWithGlobals<GlobalOptions>();
    const reporter = reporterFor(flags);
    const store = await openStore(flags);
    const stats = await store.stats();
    const rows = [
      ["documents", stats.documents.toLocaleString("en")],
      ["passages", stats.passages.toLocaleString("en")],
      ["tokens", stats.tokens.toLocaleString("en")],
      ["states", `${stats.states.toLocaleString("en")} files, ${bytes(stats.stateBytes)}, ${stats.codec}`],
      ["catalog", bytes(stats.catalogBytes)],
      ["orphans", `${stats.orphans} (removed by \`picaso gc\`)`],
      ["model", stats.fingerprint],
    ];
    reporter.result(stats, table(rows));
    await store.close();
  });
}
