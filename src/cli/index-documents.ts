import { Command, Option } from "commander";
import type { IndexReport } from "../answer/index-documents.js";
import { bytes, duration, quantity } from "./format.js";
import { type GlobalOptions, interruptSignal, loadModel, reporterFor, wholeNumber } from "./globals.js";

interface IndexFlags extends GlobalOptions {
  passageTokens?: number;
  overlap?: number;
  codec?: "f32" | "bf16";
}

const examples = `
Reads .txt, .md, .html and .jsonl files; folders are read recursively. Run it again
after documents changed: only what is new is computed. It can be interrupted at any
moment and goes on where it stopped. The store remembers --passage-tokens and
--overlap; other values later cut the documents that are named anew. Exit code 1 if
a file could not be read; all others are indexed.

Examples:
  $ picaso index docs/ notes.md
  $ picaso index corpus.jsonl --passage-tokens 128 --store big.picaso`;

export function indexCommand(): Command {
  return new Command("index")
    .description("read documents into the store: each passage becomes a state")
    .argument("<path...>", "files and folders")
    .option("--passage-tokens <n>", "most tokens of a passage's text (default: 256)", wholeNumber(16))
    .option("--overlap <n>", "tokens of whole sentences repeated from the passage before (default: 0)", wholeNumber(0))
    .addOption(
      new Option("--codec <codec>", "how a new store keeps its states (default: bf16)").choices(["f32", "bf16"]),
    )
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
      const { states, stateBytes } = await store.stats();
      reporter.result(
        { ...report, failures },
        `${describe(report)}The store ${flags.store} holds ${quantity(states, "states")}, ${bytes(stateBytes)}.\n`,
      );
      if (failures.length > 0) process.exitCode = 1;
      await store.close();
      await model.dispose();
    });
}

function describe({ documents, skipped, passages, settings, recut, tokens, seconds, failures }: IndexReport): string {
  const counts = (["added", "changed", "unchanged", "removed", "empty"] as const)
    .filter((kind) => documents[kind] > 0)
    .map((kind) => `${documents[kind].toLocaleString("en")} ${kind}`);
  const rate = passages.encoded > 0 ? ` (${quantity(tokens / seconds, "tokens")}/s)` : "";
  const reused = passages.reused > 0 ? `, ${quantity(passages.reused, "passages")} known already` : "";
  if (failures.length > 0) counts.push(`${quantity(failures.length, "files")} not readable`);
  const others = skipped > 0 ? ` ${quantity(skipped, "files")} of other kinds passed over.` : "";
  const { passageTokens, overlap } = settings;
  const cut = recut
    ? `Documents are now cut into passages of up to ${passageTokens} tokens, overlap ${overlap}.\n`
    : "";
  return (
    `${cut}Documents: ${counts.join(", ") || "none found"}.${others}\n` +
    `Encoded ${quantity(passages.encoded, "passages")}${reused} in ${duration(seconds)}${rate}.\n`
  );
}
