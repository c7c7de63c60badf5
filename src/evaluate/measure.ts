/**
 * All methods on one query: makes the states to start from, each distinct one once, and scores the target from them in
 * common batches.
 */
import { compose } from "../compose/compose.js";
import { groupByLength, mostSequences } from "../model/batch.js";
import type { LanguageModel } from "../model/language-model.js";
import type { ContextState } from "../state/context-state.js";
import { type Adjustment, adjustedComposition } from "./adjustment.js";
import type { ContextStates } from "./context-states.js";
import { type Cells, cellsOf, contextsRead, type EvaluationMethod, type Start, startKey, startOf } from "./methods.js";
import type { EvaluationQuery } from "./query.js";
import { readOrders } from "./read-orders.js";
import { smallBatches } from "./small-batches.js";

export interface Plan extends Cells {
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
  const exact = !states.isLossy && !plan.adjustment;
  const jobs = cellsOf(plan, query.contexts.length).map(({ method, k }) => {
    const start = startOf(method, k);
    return { method, k, start, key: startKey(start, exact) };
  });
  const distinct = new Map(jobs.map(({ key, start }) => [key, start]));
  const outcomes = await measureStarts(model, states, query, [...distinct.values()], plan, signal);
  const byKey = new Map([...distinct.keys()].map((key, i) => [key, outcomes[i]!]));
  return jobs.map(({ method, k, start, key }) => {
    const read = contextsRead(start).reduce((total, rank) => total + query.contexts[rank]!.tokens.length, 0);
    return { method, k, tokensRead: read + query.prompt.length, ...byKey.get(key)! };
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
  const stored = single.map((state) => contextStates.stored(state));
  const orders = starts.flatMap((start) => (start.kind === "read" ? start.orders : []));
  const read = await readOrders(model, query.contexts, single, orders, signal);
  const shared = adjustment?.kind === "shared-once" ? await contextStates.mean(adjustment.sample, signal) : undefined;

  // Composed states that have been used: finding memory for the next ones takes as long as composing them. Those that
  // were adjusted may share memory with others.
  const spent: ContextState[] = [];
  const makeState = (start: Start): ContextState | undefined => {
    if (start.kind === "none") return undefined;
    if (start.kind === "read") {
      const finals = start.orders.map((order) => read.get(String(order))!);
      return finals.length === 1 ? finals[0] : compose(finals, "soup");
    }
    const chosen = start.order.map((rank) => stored[rank]!);
    if (!adjustment) return compose(chosen, start.method, { reuse: spent.pop() });
    return adjustedComposition(adjustment, chosen, start.method, shared);
  };
  const prompts = starts.map(({ kind }) => [...(kind === "none" ? contextStates.beginning : []), ...query.prompt]);
  const sequences = prompts.map((prompt) => ({ tokens: [...prompt, ...query.target] }));
  const outcomes = new Array<Outcome>(starts.length);
  // States are made a batch at a time: those of all starts together would be many times the model's size. Answers are
  // written token by token, where only large batches use the engine well.
  const groups = answerTokens > 0 ? groupByLength(sequences, mostSequences(model.stateShape)) : smallBatches(sequences);
  for (const group of groups) {
    const states = group.map((index) => makeState(starts[index]!));
    const losses = await model.score(
      group.map((index, i) => ({ ...sequences[index]!, state: states[i], from: prompts[index]!.length })),
      { signal },
    );
    const answers =
      answerTokens > 0
        ? await model.generateMany(
            group.map((index, i) => ({ tokens: prompts[index]!, state: states[i] })),
            { maxTokens: answerTokens, stop: model.form.stop, signal },
          )
        : null;
    for (const [i, index] of group.entries()) {
      const loss = losses[i]!.reduce((total, each) => total + each, 0);
      outcomes[index] = { loss, ...(answers && { answer: answers[i]!.trim() }) };
      if (starts[index]!.kind === "composed" && !adjustment) spent.push(states[i]!);
    }
  }
  return outcomes;
}

/** One more than the highest rank that a start uses. */
function contextsUsed(start: Start): number {
  if (start.kind === "none") return 0;
  const ranks = start.kind === "composed" ? start.order : start.orders.flat();
  return Math.max(...ranks) + 1;
}
