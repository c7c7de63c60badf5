/** How much the loss depends on the order of the same contexts: every method under the same random orders. */
import type { LanguageModel } from "../model/language-model.js";
import type { ContextStates } from "./context-states.js";
import { measureStarts } from "./measure.js";
import type { Start } from "./methods.js";
import type { EvaluationQuery } from "./query.js";
import { Random } from "./random.js";

export const scatterMethods = ["concat", "caso", "picaso-r", "picaso-s"] as const;

export interface ScatterPlan {
  /** The first so many queries of the run. */
  queries: number;
  /** Contexts of each. */
  k: number;
  /** Orders drawn for each. */
  orders: number;
  seed: number;
}

export interface Scatter {
  method: (typeof scatterMethods)[number];
  /** Loss of the target under each order, in nats. */
  losses: number[];
}

export async function measureScatter(
  model: LanguageModel,
  states: ContextStates,
  query: EvaluationQuery,
  plan: ScatterPlan,
  signal?: AbortSignal,
): Promise<Scatter[]> {
  const k = Math.min(plan.k, query.contexts.length);
  if (k < 2) return [];
  const ranks = Array.from({ length: k }, (_, rank) => rank);
  const orders = Array.from({ length: plan.orders }, (_, draw) => Random.of(plan.seed, draw).shuffle([...ranks]));
  const starts = scatterMethods.flatMap((method) =>
    orders.map(
      (order): Start => (method === "concat" ? { kind: "read", orders: [order] } : { kind: "composed", method, order }),
    ),
  );
  const outcomes = await measureStarts(model, states, query, starts, { answerTokens: 0 }, signal);
  return scatterMethods.map((method, i) => ({
    method,
    losses: outcomes.slice(i * plan.orders, (i + 1) * plan.orders).map(({ loss }) => loss),
  }));
}
