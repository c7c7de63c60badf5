/** Contexts read in many orders through their common beginnings, and what depends on the order. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { makeGoldenFolder, relativeError } from "../../test/support/golden.js";
import { useScratch } from "../../test/support/scratch.js";
import { LanguageModel } from "../model/language-model.js";
import { ContextStates } from "./context-states.js";
import { measureStarts } from "./measure.js";
import type { EvaluationQuery } from "./query.js";
import { Random } from "./random.js";
import { readOrders } from "./read-orders.js";
import { measureScatter, type Scatter, scatterMethods } from "./scatter.js";
import { composedLoss, joined, plainLoss, randomQueries } from "./test-queries.js";

const scratch = useScratch();
let model: LanguageModel;
let query: EvaluationQuery;

beforeAll(async () => {
  model = await LanguageModel.load(await makeGoldenFolder("golden-g1", scratch.path("g1")), { threads: 1 });
  query = randomQueries(model, 1, 4)[0]!;
});
afterAll(() => model?.dispose());

describe("readOrders", () => {
  const orders = [[0], [2], [0, 1], [1, 0], [0, 1, 2], [0, 2, 1], [2, 1, 0], [3, 2, 1, 0], [0, 1, 2, 3], [1, 0, 3, 2]];

  test("gives the state after each order, as if the joined text were read", async () => {
    const single = await new ContextStates(model).get(query.contexts);
    const states = await readOrders(model, query.contexts, single, orders);
    expect([...states.keys()].sort()).toEqual(orders.map(String).sort());
    for (const order of orders) {
      const state = states.get(String(order))!;
      const alone = await model.encode(joined(model, query, order));
      expect(state.tokens).toBe(alone.tokens);
      for (const name of ["ssm", "conv", "logDecay"] as const) {
        expect(relativeError(state[name], alone[name]), `${order} ${name}`).toBeLessThan(1e-5);
      }
    }
  });

  test("the losses of many orders are those of each order on its own", async () => {
    const starts = orders.map((order) => ({ kind: "read" as const, orders: [order] }));
    const outcomes = await measureStarts(model, new ContextStates(model), query, starts, { answerTokens: 0 });
    for (const [i, order] of orders.entries()) {
      const tokens = [...joined(model, query, order), ...query.prompt];
      const loss = await plainLoss(model, tokens, query.target);
      expect(Math.abs(outcomes[i]!.loss - loss) / loss, String(order)).toBeLessThan(1e-5);
    }
  });

  test("reads every beginning once", async () => {
    const single = await new ContextStates(model).get(query.contexts);
    const read: string[] = [];
    const counting = {
      readMany: (requests: Parameters<LanguageModel["readMany"]>[0]) => {
        for (const { tokens } of requests) read.push(String(tokens));
        return model.readMany(requests);
      },
    };
    // Behind 0 come 1 (then 2, then 3) and 2 (then 1): five texts for the eight that the orders count.
    await readOrders(
      counting as LanguageModel,
      query.contexts,
      single,
      [0, 1, 2, 3].map((_, i) => [[0], [0, 1, 2], [0, 1, 2, 3], [0, 2, 1]][i]!),
    );
    expect(read).toHaveLength(5);
  });
});

describe("scatter over orders", () => {
  const plan = { queries: 1, k: 4, orders: 6, seed: 3 };
  let scatter: Scatter[];
  const losses = (method: Scatter["method"]) => scatter.find((each) => each.method === method)!.losses;
  const spread = (method: Scatter["method"]) => Math.max(...losses(method)) - Math.min(...losses(method));

  beforeAll(async () => {
    scatter = await measureScatter(model, new ContextStates(model), query, plan);
  });

  test("has a loss for each method and order", () => {
    expect(scatter.map(({ method }) => method)).toEqual([...scatterMethods]);
    for (const { losses } of scatter) expect(losses).toHaveLength(plan.orders);
  });

  test("caso and concat scatter, picaso-r less, picaso-s not at all", () => {
    expect(spread("concat")).toBeGreaterThan(0.01);
    expect(spread("caso")).toBeGreaterThan(0.01);
    expect(spread("picaso-r")).toBeGreaterThan(1e-4);
    expect(spread("picaso-r")).toBeLessThan(spread("caso") / 2);
    // The states are equal bit for bit; their places in a batch may round the last digit otherwise.
    expect(spread("picaso-s")).toBeLessThan(1e-5);
  });

  test("each loss is that of its order", async () => {
    for (let draw = 0; draw < plan.orders; draw++) {
      const order = Random.of(plan.seed, draw).shuffle([0, 1, 2, 3]);
      const plain = await plainLoss(model, [...joined(model, query, order), ...query.prompt], query.target);
      expect(Math.abs(losses("concat")[draw]! - plain) / plain).toBeLessThan(1e-5);
      for (const method of ["caso", "picaso-r", "picaso-s"] as const) {
        const composed = await composedLoss(model, query, order, method);
        expect(Math.abs(losses(method)[draw]! - composed) / composed, method).toBeLessThan(1e-5);
      }
    }
  });

  test("a query with one context has no orders", async () => {
    const one = { ...query, contexts: query.contexts.slice(0, 1) };
    expect(await measureScatter(model, new ContextStates(model), one, plan)).toEqual([]);
  });
});
