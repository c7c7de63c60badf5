/** The figures of a run against values computed by hand. */
import { expect, test } from "vitest";
import type { Measurement } from "./measure.js";
import type { QueryResult } from "./measure-query.js";
import type { EvaluationMethod } from "./methods.js";
import { summarize } from "./summary.js";

/** Losses by method, all but none at k = 2. */
function result(id: string, targetTokens: number, losses: Partial<Record<EvaluationMethod, number>>): QueryResult {
  const measurements = Object.entries(losses).map(
    ([method, loss]): Measurement => ({
      method: method as EvaluationMethod,
      k: method === "none" ? 0 : 2,
      loss,
      tokensRead: method === "concat" ? 100 : 10,
    }),
  );
  return { id, targetTokens, words: 5, relevant: [], relevantTotal: 0, references: [], measurements };
}

const two = [result("a", 10, { none: 40, soup: 30, concat: 20 }), result("b", 30, { none: 100, soup: 70, concat: 60 })];

function row(results: readonly QueryResult[], method: EvaluationMethod, k = 2) {
  return summarize(results).methods.find((each) => each.method === method && each.k === k)!;
}

test("log-perplexity is the mean over all tokens together", () => {
  expect(row(two, "none", 0).logPerplexity.value).toBeCloseTo(140 / 40, 12);
  expect(row(two, "soup").logPerplexity.value).toBeCloseTo(100 / 40, 12);
  expect(row(two, "concat").logPerplexity.value).toBeCloseTo(80 / 40, 12);
  expect(summarize(two)).toMatchObject({ queries: 2, targetTokens: 40 });
});

test("intervals of two queries reach from the one to the other", () => {
  // Of the draws of two queries, a quarter are a twice, and a quarter b twice: both are within the middle 95%.
  const { logPerplexity, overConcat, shareOfGain } = row(two, "soup");
  expect(logPerplexity.low).toBeCloseTo(70 / 30, 12);
  expect(logPerplexity.high).toBeCloseTo(30 / 10, 12);
  // Paired: the difference is taken within a draw, query by query.
  expect(overConcat!.value).toBeCloseTo((100 - 80) / 40, 12);
  expect(overConcat!.low).toBeCloseTo(10 / 30, 12);
  expect(overConcat!.high).toBeCloseTo(10 / 10, 12);
  expect(shareOfGain!.value).toBeCloseTo((140 - 100) / (140 - 80), 12);
  expect(shareOfGain!.low).toBeCloseTo((40 - 30) / (40 - 20), 12);
  expect(shareOfGain!.high).toBeCloseTo((100 - 70) / (100 - 60), 12);
});

test("what is compared is compared on the same queries", () => {
  // The third query has too few contexts for k = 2: it counts in `none`, and in no comparison.
  const three = [...two, result("c", 60, { none: 600 })];
  expect(row(three, "none", 0)).toMatchObject({ queries: 3 });
  expect(row(three, "soup")).toMatchObject({ queries: 2, overConcat: row(two, "soup").overConcat });
  expect(row(three, "soup").shareOfGain).toEqual(row(two, "soup").shareOfGain);
});

test("baselines have no share of their own gain, and without them nobody has", () => {
  expect(row(two, "none", 0).shareOfGain).toBeUndefined();
  expect(row(two, "concat").shareOfGain).toBeUndefined();
  const alone = two.map((each) => ({ ...each, measurements: each.measurements.filter((m) => m.method === "soup") }));
  expect(row(alone, "soup").shareOfGain).toBeUndefined();
  expect(row(alone, "soup").overConcat).toBeUndefined();
});

test("where concatenation gains nothing there is no share", () => {
  expect(row([result("a", 10, { none: 20, soup: 18, concat: 25 })], "soup").shareOfGain!.value).toBeNaN();
});

test("tokens read are averaged over queries", () => {
  expect(row(two, "concat").tokensRead).toBe(100);
  expect(row(two, "soup").tokensRead).toBe(10);
});

test("answers are compared with their references", () => {
  const answered = (answer: string, references: string[]): QueryResult => ({
    ...two[0]!,
    references,
    measurements: [{ method: "soup", k: 2, loss: 1, tokensRead: 1, answer }],
  });
  const { exactMatch, f1 } = row([answered("The tower.", ["tower"]), answered("red house", ["blue house"])], "soup");
  expect(exactMatch!.value).toBe(0.5);
  expect(f1!.value).toBe(0.75);
});

test("recall counts relevant contexts that were not retrieved", () => {
  const measurements = [1, 2].map((k): Measurement => ({ method: "soup", k, loss: 1, tokensRead: 1 }));
  const results = [
    { ...two[0]!, measurements, relevant: [true, false], relevantTotal: 1 },
    { ...two[1]!, measurements, relevant: [false, true], relevantTotal: 2 },
    { ...two[1]!, measurements, relevant: [false, false], relevantTotal: 0 },
  ];
  const recall = summarize(results).recall!.map(({ k, recall }) => [k, recall.value]);
  expect(recall).toEqual([
    [1, 0.5],
    [2, 0.75],
  ]);
});

test("scatter is the deviation over orders per token, averaged over queries", () => {
  const scattered = (losses: number[], targetTokens: number): QueryResult => ({
    ...two[0]!,
    targetTokens,
    scatter: (["concat", "caso", "picaso-r", "picaso-s"] as const).map((method) => ({
      method,
      losses: method === "picaso-s" ? losses.map(() => 7) : losses,
    })),
  });
  const { scatter } = summarize([scattered([10, 20], 10), scattered([30, 30], 10), two[1]!]);
  expect(scatter!.map(({ method, queries, deviation }) => [method, queries, deviation.value])).toEqual([
    ["concat", 2, 0.25],
    ["caso", 2, 0.25],
    ["picaso-r", 2, 0.25],
    ["picaso-s", 2, 0],
  ]);
});
