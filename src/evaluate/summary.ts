/** The figures of a run, each with a 95% interval over queries. */

import type { Measurement } from "./measure.js";
import type { QueryResult } from "./measure-query.js";
import type { EvaluationMethod } from "./methods.js";
import { bleu1Counts, bleuColumns, bleuFromSums } from "./metrics/bleu.js";
import {
  bootstrap,
  bootstrapDifference,
  bootstrapMean,
  bootstrapRatio,
  bootstrapShareOfGain,
  type Interval,
} from "./metrics/bootstrap.js";
import { recallAtK } from "./metrics/recall.js";
import { rougeL } from "./metrics/rouge.js";
import { answerF1, exactMatch } from "./metrics/squad.js";
import { scatterMethods } from "./scatter.js";

export interface MethodSummary {
  method: EvaluationMethod;
  k: number;
  /** Queries that have k contexts. */
  queries: number;
  /** Mean loss per target token over all queries together. */
  logPerplexity: Interval;
  /** This method's log-perplexity less that of `concat` with as many contexts, on the same queries. */
  overConcat?: Interval;
  /** Share of what `concat` gains over no context that this method gains. */
  shareOfGain?: Interval;
  /** Mean tokens to be read at question time. */
  tokensRead: number;
  exactMatch?: Interval;
  f1?: Interval;
  rougeL?: Interval;
  bleu1?: Interval;
}

export interface ScatterSummary {
  method: (typeof scatterMethods)[number];
  queries: number;
  /** Standard deviation over orders of the loss per token, averaged over queries. */
  deviation: Interval;
}

export interface Summary {
  queries: number;
  targetTokens: number;
  methods: MethodSummary[];
  /** Share of the relevant contexts among the first k. */
  recall?: { k: number; recall: Interval }[];
  scatter?: ScatterSummary[];
}

export function summarize(results: readonly QueryResult[]): Summary {
  const cells = new Map<string, { method: EvaluationMethod; k: number }>();
  for (const { measurements } of results) {
    for (const { method, k } of measurements) cells.set(`${method} ${k}`, { method, k });
  }
  const ordered = [...cells.values()].sort((a, b) => a.k - b.k);
  return {
    queries: results.length,
    targetTokens: results.reduce((total, { targetTokens }) => total + targetTokens, 0),
    methods: ordered.map(({ method, k }) => summarizeMethod(results, method, k)),
    ...summarizeRecall(results),
    ...summarizeScatter(results),
  };
}

function summarizeMethod(results: readonly QueryResult[], method: EvaluationMethod, k: number): MethodSummary {
  const rows = results.flatMap((result) => {
    const measurement = find(result, method, k);
    return measurement ? [{ result, measurement }] : [];
  });
  const losses = rows.map(({ measurement }) => measurement.loss);
  const tokens = rows.map(({ result }) => result.targetTokens);
  const paired = rows.flatMap(({ result, measurement }) => {
    const none = find(result, "none", 0);
    const concat = find(result, "concat", k);
    return none && concat
      ? [{ none: none.loss, concat: concat.loss, own: measurement.loss, tokens: result.targetTokens }]
      : [];
  });
  const column = (name: "none" | "concat" | "own" | "tokens") => paired.map((row) => row[name]);
  return {
    method,
    k,
    queries: rows.length,
    logPerplexity: bootstrapRatio(losses, tokens),
    ...(paired.length > 0 &&
      method !== "none" &&
      method !== "concat" && {
        overConcat: bootstrapDifference(column("own"), column("concat"), column("tokens")),
        shareOfGain: bootstrapShareOfGain({ none: column("none"), method: column("own"), concat: column("concat") }),
      }),
    tokensRead: rows.reduce((total, { measurement }) => total + measurement.tokensRead, 0) / rows.length,
    ...summarizeAnswers(rows),
  };
}

function summarizeAnswers(rows: readonly { result: QueryResult; measurement: Measurement }[]) {
  const answered = rows.flatMap(({ result, measurement: { answer } }) =>
    answer === undefined ? [] : [{ answer, references: result.references }],
  );
  if (answered.length === 0) return {};
  const mean = (metric: (answer: string, references: readonly string[]) => number) =>
    bootstrapMean(answered.map(({ answer, references }) => metric(answer, references)));
  const counts = answered.map(({ answer, references }) => bleu1Counts(answer, references));
  return {
    exactMatch: mean(exactMatch),
    f1: mean(answerF1),
    rougeL: mean(rougeL),
    bleu1: bootstrap(bleuColumns(counts), bleuFromSums),
  };
}

function summarizeRecall(results: readonly QueryResult[]): Pick<Summary, "recall"> {
  const known = results.filter(({ relevantTotal }) => relevantTotal > 0);
  if (known.length === 0) return {};
  const ks = [...new Set(results.flatMap(({ measurements }) => measurements.map(({ k }) => k)))]
    .filter((k) => k > 0)
    .sort((a, b) => a - b);
  const recall = ks.map((k) => {
    const values = known.map(({ relevant, relevantTotal }) => {
      const ranked = relevant.map((is, rank) => (is ? `relevant ${rank}` : `other ${rank}`));
      const wanted = new Set(ranked.filter((name) => name.startsWith("relevant")));
      // Relevant contexts that were not retrieved at all are wanted too.
      for (let missing = wanted.size; missing < relevantTotal; missing++) wanted.add(`missing ${missing}`);
      return recallAtK(ranked, wanted, k);
    });
    return { k, recall: bootstrapMean(values) };
  });
  return { recall };
}

function summarizeScatter(results: readonly QueryResult[]): Pick<Summary, "scatter"> {
  const measured = results.filter(({ scatter }) => scatter && scatter.length > 0);
  if (measured.length === 0) return {};
  const scatter = scatterMethods.map((method) => {
    const deviations = measured.map((result) => {
      const { losses } = result.scatter!.find((each) => each.method === method)!;
      return deviation(losses) / result.targetTokens;
    });
    return { method, queries: measured.length, deviation: bootstrapMean(deviations) };
  });
  return { scatter };
}

function deviation(values: readonly number[]): number {
  const mean = values.reduce((a, b) => a + b, 0) / values.length;
  return Math.sqrt(values.reduce((total, value) => total + (value - mean) ** 2, 0) / values.length);
}

function find({ measurements }: QueryResult, method: EvaluationMethod, k: number): Measurement | undefined {
  return measurements.find((each) => each.method === method && each.k === k);
}
