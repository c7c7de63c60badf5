import { Command } from "commander";
import { shortPath, table } from "./format.js";
import { type GlobalOptions, openStore, reporterFor, wholeNumber } from "./globals.js";

interface LsFlags extends GlobalOptions {
  passages?: boolean;
  limit?: number;
}

export function lsCommand(): Command {
  return new Command("ls")
    .description("list the store's documents, or the passages of some")
    .argument("[source...]", "only these documents")
    .option("--passages", "list passages with their ids")
    .option("--limit <n>", "at most n rows", wholeNumber(1))
    .action(async (sources: string[], _: unknown, command: Command) => {
      const flags = command.optsWithGlobals<LsFlags>();
      const reporter = reporterFor(flags);
      const store = await openStore(flags);
      if (flags.passages) {
        const passages = await store.list({ sources: await store.resolveSources(sources), limit: flags.limit });
        const rows = passages.map(({ id, tokens, source, text }) => [id, tokens, shortPath(source), excerpt(text)]);
        reporter.result(passages, table([["id", "tokens", "source", "text"], ...rows]));
      } else {
        const chosen = sources.length > 0 ? new Set(await store.resolveSources(sources)) : null;
        const documents = [...(await store.documents())]
          .filter(([source]) => !chosen || chosen.has(source))
          .slice(0, flags.limit)
          .map(([source, { passages, whole }]) => ({ source, passages, whole }));
        const rows = documents.map(({ source, passages, whole }) => [
          passages,
          shortPath(source) + (whole ? "" : "  (states are missing: index it again)"),
        ]);
        reporter.result(documents, table([["passages", "source"], ...rows]));
        if (documents.length === 0) reporter.note("The store is empty: `picaso index PATH...` fills it.");
      }
      await store.close();
    });
}

function excerpt(text: string): string {
  const line = text.replace(/\s+/g, " ");
  return line.length > 60 ? `${line.slice(0, 59)}…` : line;
}
