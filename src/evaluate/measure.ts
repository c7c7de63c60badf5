/**
 * All methods on one query: makes the states to start from, each distinct one once, and scores the target from all of
 * them in common batches.
 */
import { compose } from "../compose/compose.js";
import { beginning } from "../model/form.js";
import type { LanguageModel } from "../model/language-model.js";
import type { ContextState } from "../state/context-state.js";
import { type Adjustment, adjust } from "./adjustment.js";
import type { ContextStates } from "./context-states.js";
import { contextCounts, contextsRead, type EvaluationMethod, type Start, startKey, startOf } from "./methods.js";
import type { EvaluationQuery } from "./query.js";
import { readOrders } from "./read-orders.js";

export interface Plan {
  methods: readonly EvaluationMethod[];
  /** Numbers of contexts; a query with fewer is measured up to what it has. */
  ks: readonly number[];
  /** Largest k of `piconcat-r`, whose cost grows with its square. */
  piconcatMost: number;
  /** Generates a greedy answer of at most this many tokens; 0 for none. */
  answerTokens: number;
  /** Changes a composed state before it is used, for ablations. */
  adjustment?: Adjustment;
}

export interface Measurement {
  method: EvaluationMethod;
  k: number;
  /** Sum over the target's tokens of -log p, in nats. */
  loss: number;
  /** Tokens that have to be read at question time, the target not counted. */
  tokensRead: number;
  answer?: string;
}

/** Measures a query by the plan. The order of the results is the plan's. */
export async function measureMethods(
  model: LanguageModel,
  states: ContextStates,
  query: EvaluationQuery,
  plan: Plan,
  signal?: AbortSignal,
): Promise<Measurement[]> {
  const jobs = plan.methods.flatMap((method) =>
    contextCounts(method, plan.ks)
      .filter((k) => k <= query.contexts.length && (method !== "piconcat-r" || k <= plan.piconcatMost))
      .map((k) => ({ method, k, start: startOf(method, k) })),
  );
  const distinct = new Map(jobs.map(({ start }) => [startKey(start), start]));
  const outcomes = await measureStarts(model, states, query, [...distinct.values()], plan, signal);
  const byKey = new Map([...distinct.keys()].map((key, i) => [key, outcomes[i]!]));
  return jobs.map(({ method, k, start }) => {
    const read = contextsRead(start).reduce((total, rank) => total + query.contexts[rank]!.tokens.length, 0);
    return { method, k, tokensRead: read + query.prompt.length, ...byKey.get(startKey(start))! };
  });
}

export interface Outcome {
  loss: number;
  answer?: string;
}

/** Losses, and answers where wanted, of the query's target from each start. */
export async function measureStarts(
  model: LanguageModel,
  contextStates: ContextStates,
  query: EvaluationQuery,
  starts: readonly Start[],
  { answerTokens, adjustment }: Pick<Plan, "answerTokens" | "adjustment">,
  signal?: AbortSignal,
): Promise<Outcome[]> {
  const most = Math.max(0, ...starts.map(contextsUsed));
  const single = await contextStates.get(query.contexts.slice(0, most), signal);
  const orders = starts.flatMap((start) => (start.kind === "read" ? start.orders : []));
  const read = await readOrders(model, query.contexts, single, orders, signal);

  const makeState = (start: Start): ContextState | undefined => {
    if (start.kind === "none") return undefined;
    const chosen = start.kind === "composed" ? start.order.map((rank) => single[rank]!) : [];
    if (start.kind === "read") {
      const finals = start.orders.map((order) => read.get(String(order))!);
      return finals.length === 1 ? finals[0] : compose(finals, "soup");
    }
    const composed = compose(chosen, start.method);
    return adjustment ? adjust(adjustment, composed, chosen) : composed;
  };
  const requests = starts.map((start) => {
    const begin = start.kind === "none" ? beginning(model) : [];
    return { prompt: [...begin, ...query.prompt], state: makeState(start) };
  });
  const losses = await model.score(
    requests.map(({ prompt, state }) => ({ tokens: [...prompt, ...query.target], state, from: prompt.length })),
    { signal },
  );
  const answers =
    answerTokens > 0
      ? await model.generateMany(
          requests.map(({ prompt, state }) => ({ tokens: prompt, state })),
          { maxTokens: answerTokens, stop: model.form.stop, signal },
        )
      : null;
  return losses.map((each, i) => ({
    loss: each.reduce((total, loss) => total + loss, 0),
    ...(answers && { answer: answers[i]!.trim() }),
  }));
}

/** One more than the highest rank that a start uses. */
function contextsUsed(start: Start): number {
  if (start.kind === "none") return 0;
  const ranks = start.kind === "composed" ? start.order : start.orders.flat();
  return Math.max(...ranks) + 1;
}
