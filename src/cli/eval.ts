import { availableParallelism } from "node:os";
import { Command, InvalidArgumentError, Option } from "commander";
import type { EvaluationMethod } from "../evaluate/methods.js";
import type { Embedder } from "../retrieve/embedder.js";
import { duration, table } from "./format.js";
import { type GlobalOptions, interruptSignal, loadModel, reporterFor, wholeNumber } from "./globals.js";
import type { Reporter } from "./reporter.js";

interface EvalFlags extends GlobalOptions {
  data: string;
  out?: string;
  k: number[];
  methods?: EvaluationMethod[];
  queries?: number;
  seed: number;
  retrieval?: string;
  embedder?: string;
  passageTokens: number;
  pool: string[];
  piconcatMost: number;
  scatter: number;
  timings: number;
  workers: number;
  ablation?: string;
}

const examples = `
Suites:
  wikitext   continue a passage given other passages (a WikiText token file)
  msmarco    answer with all passages of a row (MS MARCO QA rows, .json, .jsonl or .parquet)
  qa         answer from retrieved paragraphs (a file in SQuAD's format)
  needle     find planted facts among other passages (a WikiText token file as haystack)
  perplexity plain perplexity of a WikiText token file

A run writes queries.jsonl, summary.json, report.html and plots/*.svg into --out, an ablation a folder of
queries for each variant and one summary.json. Run again, it goes on where it stopped.

Examples:
  $ picaso eval wikitext --data wiki.test.tokens --queries 500
  $ picaso eval qa --data dev-v1.1.json --retrieval oracle -k 1,3,5,10 --queries 2000
  $ picaso eval wikitext --data wiki.test.tokens --retrieval embedder --embedder sentence-transformers/all-MiniLM-L6-v2
  $ picaso eval wikitext --data wiki.test.tokens --ablation conv`;

export function evalCommand(): Command {
  return new Command("eval")
    .description("measure every composition method against no context and concatenation")
    .addArgument(
      new Command()
        .createArgument("<suite>", "what to measure")
        .choices(["wikitext", "msmarco", "qa", "needle", "perplexity"]),
    )
    .requiredOption("--data <file>", "data file, or hub:datasets/ORG/NAME/path/in/repo")
    .option("--out <dir>", "folder for the results (default: eval-SUITE)")
    .addOption(
      new Option("-k <list>", "numbers of contexts, comma-separated")
        .argParser(numberList)
        .default([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10], "0 to 10"),
    )
    .option("--methods <list>", "only these methods, comma-separated", (text) => text.split(",") as EvaluationMethod[])
    .option(
      "--queries <n>",
      "so many queries, drawn at random, of msmarco the first (default: all; a WikiText query takes seconds)",
      wholeNumber(1),
    )
    .option("--seed <n>", "of everything drawn", wholeNumber(0), 0)
    .option(
      "--retrieval <kind>",
      "wikitext: bm25, embedder, random, oracle; msmarco: given, bm25, embedder; qa: bm25, embedder, oracle, article, random",
    )
    .option("--embedder <dir>", "Sentence-Transformers model with an ONNX export: its folder, or org/name on the hub")
    .option("--passage-tokens <n>", "wikitext, needle: most tokens of a passage", wholeNumber(16), 128)
    .addOption(
      new Option("--pool <files>", "wikitext: more files for the database, comma-separated")
        .argParser((text) => text.split(","))
        .default([], "none"),
    )
    .option("--piconcat-most <n>", "largest k of piconcat-r, which costs k^2 passages", wholeNumber(0), 4)
    .option("--scatter <n>", "queries measured under random orders of their contexts", wholeNumber(0), 16)
    .option("--timings <n>", "queries timed one by one", wholeNumber(0), 8)
    .option(
      "--workers <n>",
      "processes that measure side by side, one thread each",
      wholeNumber(0),
      availableParallelism(),
    )
    .addOption(
      new Option(
        "--ablation <kind>",
        "vary one thing (passage-length, retrieval, form: wikitext only; distractors: needle only)",
      ).choices(["passage-length", "retrieval", "form", "distractors", "layers", "conv", "codec", "shared"]),
    )
    .addHelpText("after", examples)
    .action(async (suite: string, _: unknown, command: Command) => {
      const flags = command.optsWithGlobals<EvalFlags>();
      const reporter = reporterFor(flags);
      const signal = interruptSignal();
      const { evaluateSuite } = await import("../evaluate/evaluate-suite.js");
      const model = await loadModel(flags, reporter);
      const embedder = await loadEmbedder(flags, reporter, signal);
      const start = performance.now();
      const out = flags.out ?? `eval-${suite}${flags.ablation ? `-${flags.ablation}` : ""}`;
      const report = await evaluateSuite(model, {
        ...flags,
        embedder,
        suite,
        out,
        ks: flags.k,
        signal,
        onProgress: (label, progress) => reporter.progress(label, { unit: "queries", ...progress }),
      });
      reporter.progressDone();
      const seconds = (performance.now() - start) / 1000;
      const text = [table(report.rows), ...(report.legend ? [`${report.legend}\n`] : [])].join("\n");
      reporter.result(report.json, `${text}\n${duration(seconds)}; results in ${out}/\n`);
      await model.dispose();
      await embedder?.dispose();
    });
}

async function loadEmbedder(flags: EvalFlags, reporter: Reporter, signal: AbortSignal): Promise<Embedder | undefined> {
  if (!flags.embedder) return undefined;
  const { Embedder } = await import("../retrieve/embedder.js");
  const { threads, offline } = flags;
  const embedder = await Embedder.load(flags.embedder, {
    ...{ threads, offline, signal },
    onProgress: ({ done, total }) => reporter.progress("downloading", { done, total, unit: "bytes" }),
  });
  reporter.progressDone();
  return embedder;
}

function numberList(text: string): number[] {
  const values = text.split(",").map(Number);
  if (values.length === 0 || !values.every((value) => Number.isSafeInteger(value) && value >= 0)) {
    throw new InvalidArgumentError("expected whole numbers separated by commas, such as 0,1,2,4.");
  }
  return [...new Set(values)].sort((a, b) => a - b);
}
