import { Command } from "commander";
import { bytes, quantity, table } from "./format.js";
import { type GlobalOptions, openStore, reporterFor } from "./globals.js";

export function statsCommand(): Command {
  return new Command("stats").description("what the store holds").action(async (_: unknown, command: Command) => {
    const flags = command.optsWithGlobals<GlobalOptions>();
    const reporter = reporterFor(flags);
    const store = await openStore(flags);
    const stats = await store.stats();
    const settings = store.passageSettings;
    const rows = [
      ["documents", stats.documents.toLocaleString("en")],
      ["passages", stats.passages.toLocaleString("en")],
      ["tokens", stats.tokens.toLocaleString("en")],
      ["states", `${stats.states.toLocaleString("en")} files, ${bytes(stats.stateBytes)}, ${stats.codec}`],
      ["catalog", bytes(stats.catalogBytes)],
      ["unused", `${quantity(stats.orphans, "files")}${stats.orphans > 0 ? ", for `picaso gc` to remove" : ""}`],
      [
        "passage size",
        settings ? `up to ${settings.passageTokens} tokens, overlap ${settings.overlap}` : "not set yet",
      ],
      ["model", stats.fingerprint],
    ];
    reporter.result(stats, table(rows));
    await store.close();
  });
}
