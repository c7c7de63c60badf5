/** One call of `picaso eval`: data to queries, queries to results, results to files. */
import { basename, join } from "node:path";
import { writeWhole } from "../cache.js";
import { PicasoError } from "../errors.js";
import type { LanguageModel } from "../model/language-model.js";
import { runAblation } from "./ablation.js";
import { ContextStates } from "./context-states.js";
import type { Plan } from "./measure.js";
import type { QueryResult } from "./measure-query.js";
import { type EvaluationMethod, evaluationMethods } from "./methods.js";
import { measurePerplexity } from "./perplexity.js";
import type { EvaluationQuery } from "./query.js";
import { readSuite, type SuiteOptions, suiteBeginning } from "./read-suite.js";
import { figuresOf } from "./report/figures.js";
import { reportPage } from "./report/html.js";
import { legendOf, summaryRows } from "./report/rows.js";
import { runEvaluation } from "./run.js";
import { type Summary, summarize } from "./summary.js";
import { measureTimings } from "./timing.js";
import { measureWeights } from "./weight-picture.js";

export interface EvaluateOptions extends SuiteOptions {
  suite: "wikitext" | "msmarco" | "qa" | "needle" | "perplexity" | string;
  /** Folder for the results. */
  out: string;
  ks: readonly number[];
  /** @default all */
  methods?: readonly EvaluationMethod[];
  piconcatMost: number;
  /** Queries measured under random orders of their contexts. */
  scatter: number;
  /** Queries timed one by one. */
  timings: number;
  /** Processes that measure side by side; 0 measures in this one. @default 0 */
  workers?: number;
  ablation?: string;
}

export interface Evaluated {
  /** What summary.json holds. */
  json: unknown;
  /** The main figures as a table, heading first. */
  rows: (string | number)[][];
  /** What the columns are, where their headings do not say. */
  legend?: string;
}

/** Contexts of the pictures of weights and of the random orders. */
const pictureContexts = 4;

export async function evaluateSuite(model: LanguageModel, options: EvaluateOptions): Promise<Evaluated> {
  checkEmbedder(options);
  if (options.suite === "perplexity") return measurePerplexity(model, options);
  if (options.ablation) return runAblation(model, options);
  // Before the data is read and ranked: it names unknown methods.
  const plan = planOf(options);
  const queries = await readSuite(model, options);
  if (queries.length === 0) throw noQueries(options);
  const settings = settingsOf(options);
  const scatter = options.scatter > 0 && {
    scatter: { queries: options.scatter, k: pictureContexts, orders: 6, seed: options.seed },
  };
  const results = await runEvaluation(model, queries, {
    out: options.out,
    plan: { ...plan, ...scatter },
    settings,
    beginning: suiteBeginning(model, options),
    workers: options.workers,
    signal: options.signal,
    onProgress: (progress) => options.onProgress?.("measuring", progress),
  });
  return writeResults(model, options, queries, results, settings);
}

/** Measures what is not per query, and writes summary.json, report.html and plots/. */
async function writeResults(
  model: LanguageModel,
  options: EvaluateOptions,
  queries: readonly EvaluationQuery[],
  results: readonly QueryResult[],
  settings: Record<string, unknown>,
): Promise<Evaluated> {
  const states = new ContextStates(model, { beginning: suiteBeginning(model, options) });
  const sample = queries.filter(({ contexts }) => contexts.length > 0).slice(0, options.timings);
  const timings = await measureTimings(model, states, sample, planOf(options), options.signal);
  const pictures = await Promise.all(
    (["caso", "picaso-s"] as const).map((method) =>
      measureWeights(states, queries.slice(0, Math.max(16, options.scatter)), method, pictureContexts),
    ),
  );
  const weights = pictures.filter((picture) => picture !== null);
  const summary: Summary = summarize(results);
  const json = { settings, model: model.fingerprint, ...summary, timings, weights };
  await writeWhole(join(options.out, "summary.json"), `${JSON.stringify(json, null, 1)}\n`);
  const title = `picaso eval ${options.suite}`;
  const figures = figuresOf({ summary, timings, weights });
  for (const { name, svg } of figures) await writeWhole(join(options.out, "plots", `${name}.svg`), `${svg}\n`);
  await writeWhole(join(options.out, "report.html"), reportPage({ title, settings, summary, timings, figures }));
  const rows = summaryRows(summary, timings);
  return { json, rows, legend: legendOf(rows[0]) };
}

export function planOf({ ks, methods = evaluationMethods, piconcatMost, suite }: EvaluateOptions): Plan {
  const unknown = methods.find((method) => !evaluationMethods.includes(method));
  if (unknown) {
    throw new PicasoError("bad-argument", {
      where: "--methods",
      expected: evaluationMethods.join(", "),
      found: unknown,
      next: "Name methods from this list.",
    });
  }
  return { methods, ks, piconcatMost, answerTokens: suite === "wikitext" ? 0 : 32 };
}

/** What distinguishes one run from another, in the journal and the report. */
export function settingsOf(options: EvaluateOptions): Record<string, unknown> {
  const { suite, retrieval, embedder, seed, passageTokens, form = "file", pool } = options;
  // Names without folders: the same file elsewhere is the same run.
  return {
    suite,
    data: basename(options.data),
    retrieval,
    embedder: embedder && `${embedder.name} ${embedder.fingerprint}`,
    seed,
    passageTokens,
    form: suite === "wikitext" ? form : undefined,
    pool: pool.map((file) => basename(file)),
  };
}

/** An embedder that nothing would use is a mistake. */
function checkEmbedder({ suite, retrieval, embedder, ablation }: EvaluateOptions): void {
  const isUsed = retrieval === "embedder" || ablation === "retrieval";
  if (!embedder || (isUsed && ["wikitext", "msmarco", "qa"].includes(suite))) return;
  throw new PicasoError("bad-argument", {
    where: "--embedder",
    expected: "--retrieval embedder, with wikitext, msmarco or qa",
    found: `--retrieval ${retrieval ?? "as by default"} with ${suite}`,
    next: "Add --retrieval embedder, or leave --embedder out.",
  });
}

function noQueries({ data }: EvaluateOptions): PicasoError {
  return new PicasoError("bad-file", {
    where: data,
    expected: "at least one usable query",
    found: "none",
    next: "Check the file, and --passage-tokens against the length of its passages.",
  });
}
