/** Every method's loss against the same figure computed by hand: one context, one order, one pass at a time. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type GoldenName, makeGoldenFolder } from "../../test/support/golden.js";
import { useScratch } from "../../test/support/scratch.js";
import { compose } from "../compose/compose.js";
import { beginning } from "../model/form.js";
import { LanguageModel } from "../model/language-model.js";
import type { ContextState } from "../state/context-state.js";
import { ContextStates } from "./context-states.js";
import { type Measurement, measureMethods } from "./measure.js";
import { evaluationMethods } from "./methods.js";
import type { EvaluationQuery } from "./query.js";
import { composedLoss, joined, plainLoss, randomQueries } from "./test-queries.js";

const scratch = useScratch();

describe.each<GoldenName>(["golden-g1", "golden-g2"])("%s", (name) => {
  let model: LanguageModel;
  let query: EvaluationQuery;
  let measured: Measurement[];
  const plan = { methods: evaluationMethods, ks: [0, 1, 2, 3, 4], piconcatMost: 3, answerTokens: 0 };

  beforeAll(async () => {
    model = await LanguageModel.load(await makeGoldenFolder(name, scratch.path(name)), { threads: 1 });
    query = randomQueries(model, 1, 4)[0]!;
    measured = await measureMethods(model, new ContextStates(model), query, plan);
  });
  afterAll(() => model?.dispose());

  function found(method: string, k: number): number {
    const cell = measured.filter((each) => each.method === method && each.k === k);
    expect(cell, `${method} at ${k}`).toHaveLength(1);
    return cell[0]!.loss;
  }

  function same(method: string, k: number, loss: number): void {
    expect(Math.abs(found(method, k) - loss) / loss, `${method} at ${k}`).toBeLessThan(1e-5);
  }

  const bestFirst = (k: number) => Array.from({ length: k }, (_, rank) => rank);
  const bestLast = (k: number) => bestFirst(k).reverse();

  test("none reads a beginning of sequence and the prompt", async () => {
    expect(beginning(model)).toHaveLength(1);
    same("none", 0, await plainLoss(model, [...beginning(model), ...query.prompt], query.target));
  });

  test.each([1, 2, 3, 4])("concatenation of %i reads the joined text", async (k) => {
    const { prompt, target } = query;
    same("concat", k, await plainLoss(model, [...joined(model, query, bestLast(k)), ...prompt], target));
    same("concat-best-first", k, await plainLoss(model, [...joined(model, query, bestFirst(k)), ...prompt], target));
  });

  test.each([1, 2, 3, 4])("compositions of %i start from the states of contexts read alone", async (k) => {
    for (const method of ["soup", "caso", "picaso-r", "picaso-s"] as const) {
      same(method, k, await composedLoss(model, query, bestLast(k), method));
    }
    same("caso-best-first", k, await composedLoss(model, query, bestFirst(k), "caso"));
  });

  test("best-1 starts from the best context alone", async () => {
    same("best-1", 1, await composedLoss(model, query, [0], "soup"));
  });

  test.each([1, 2, 3])("piconcat-r of %i averages the final states of all rotations", async (k) => {
    const finals: ContextState[] = [];
    for (let turn = 0; turn < k; turn++) {
      const order = bestLast(k).map((_, i) => bestLast(k)[(i + turn) % k]!);
      finals.push(await model.encode(joined(model, query, order)));
    }
    same("piconcat-r", k, await plainLoss(model, query.prompt, query.target, compose(finals, "soup")));
  });

  test("the methods differ by more than the tolerance of these tests", () => {
    const losses = evaluationMethods.filter((method) => !["none", "best-1"].includes(method)).map((m) => found(m, 3));
    const all = [...losses, found("none", 0), found("best-1", 1)].sort((a, b) => a - b);
    for (let i = 1; i < all.length; i++) expect((all[i]! - all[i - 1]!) / all[i]!).toBeGreaterThan(2e-5);
  });

  test("a plan is measured cell by cell, piconcat-r up to its limit", () => {
    const cells = measured.map(({ method, k }) => `${method} ${k}`);
    const composed = evaluationMethods.slice(2).filter((method) => method !== "piconcat-r");
    const expected = composed.flatMap((method) => [1, 2, 3, 4].map((k) => `${method} ${k}`));
    const others = ["none 0", "best-1 1", "piconcat-r 1", "piconcat-r 2", "piconcat-r 3"];
    expect(cells.toSorted()).toEqual([...expected, ...others].sort());
  });

  test("tokens read are those of the prompt, and of contexts read again", () => {
    const lengths = query.contexts.map(({ tokens }) => tokens.length);
    const all = lengths.slice(0, 3).reduce((a, b) => a + b, 0);
    const read = (method: string) => measured.find((each) => each.method === method && each.k === 3)!.tokensRead;
    expect(read("picaso-r")).toBe(query.prompt.length);
    expect(read("concat")).toBe(query.prompt.length + all);
    expect(read("piconcat-r")).toBe(query.prompt.length + 3 * all);
  });

  test("a query with fewer contexts is measured up to what it has", async () => {
    const short = { ...query, contexts: query.contexts.slice(0, 2) };
    const measurements = await measureMethods(model, new ContextStates(model), short, plan);
    expect(Math.max(...measurements.map(({ k }) => k))).toBe(2);
    for (const { method, k, loss } of measurements) expect(loss).toBeCloseTo(found(method, k), 3);
  });

  test("answers are those of greedy generation from the same state", async () => {
    const withAnswers = { ...plan, methods: ["none", "soup"] as const, ks: [0, 2], answerTokens: 6 };
    const answers = await measureMethods(model, new ContextStates(model), query, withAnswers);
    const states = await model.encodeMany([1, 0].map((rank) => joined(model, query, [rank])));
    const starts = [
      { tokens: [...beginning(model), ...query.prompt] },
      { tokens: query.prompt, state: compose(states, "soup") },
    ];
    for (const [i, { tokens, state }] of starts.entries()) {
      let text = "";
      for await (const piece of model.generate(tokens, { state, maxTokens: 6, stop: model.form.stop })) {
        text += piece.text;
      }
      expect(answers[i]!.answer).toBe(text.trim());
      expect(text).not.toBe("");
    }
  });
});
