import { Command, Option } from "commander";
import type { IndexReport } from "../answer/index-documents.js";
import { type Codec, codecNames } from "../state/codec.js";
import { duration, quantity } from "./format.js";
import { type GlobalOptions, interruptSignal, loadModel, reporterFor, wholeNumber } from "./globals.js";

interface IndexFlags extends GlobalOptions {
  passageTokens: number;
  overlap: number;
  codec?: Codec;
}

const examples = `
Reads .txt, .md, .html and .jsonl files; folders are read recursively. Run it again
after documents changed: only what is new is computed. It can be interrupted at any
moment and goes on where it stopped.

Examples:
  $ picaso index docs/ notes.md
  $ picaso index corpus.jsonl --passage-tokens 128 --store big.picaso`;

export function indexCommand(): Command {
  return new Command("index")
    .description("read documents into the store: each passage becomes a state")
    .argument("<path...>", "files and folders")
    .option("--passage-tokens <n>", "most tokens of a passage", wholeNumber(1), 256)
    .option("--overlap <n>", "tokens of whole sentences repeated from the passage before", wholeNumber(0), 0)
    .addOption(new Option("--codec <codec>", "how a new store keeps its states (default: bf16)").choices(codecNames))
    .addHelpText("after", examples)
    .action(async (paths: string[], _: unknown, command: Command) => {
      const flags = command.optsWithGlobals<IndexFlags>();
      const reporter = reporterFor(flags);
      const signal = interruptSignal();
      const [{ indexDocuments }, { StateStore }] = await Promise.all([
        import("../answer/index-documents.js"),
        import("../store/store.js"),
      ]);
      const model = await loadModel(flags, reporter);
      const store = await StateStore.open(flags.store, { model, codec: flags.codec, mode: "create" });
      const report = await indexDocuments(store, paths, {
        passageTokens: flags.passageTokens,
        overlap: flags.overlap,
        signal,
        onProgress: ({ phase, done, total }) =>
          phase === "scan"
            ? reporter.progress("reading", { done, total, unit: "files" })
            : reporter.progress("encoding", { done, total, unit: "passages" }),
      });
      reporter.progressDone();
      const failures = report.failures.map(({ file, error }) => ({ file, code: error.code, message: error.message }));
      for (const { message } of failures) process.stderr.write(`picaso: ${message}\n`);
      reporter.result({ ...report, failures }, describe(report, flags.store));
      if (failures.length > 0) process.exitCode = 1;
      await store.close();
      await model.dispose();
    });
}

function describe({ documents, passages, tokens, seconds, failures }: IndexReport, store: string): string {
  const counts = (["added", "changed", "unchanged", "removed"] as const)
    .filter((kind) => documents[kind] > 0)
    .map((kind) => `${documents[kind].toLocaleString("en")} ${kind}`);
  const rate = passages.encoded > 0 ? ` (${quantity(tokens / seconds, "tokens")}/s)` : "";
  const reused = passages.reused > 0 ? `, ${quantity(passages.reused, "passages")} known already` : "";
  const failed = failures.length > 0 ? `, ${quantity(failures.length, "files")} not readable` : "";
  return (
    `Documents: ${counts.join(", ") || "none found"}${failed}.\n` +
    `Encoded ${quantity(passages.encoded, "passages")}${reused} in ${duration(seconds)}${rate}, into ${store}.\n`
  );
}
