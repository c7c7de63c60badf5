/**
 * States after reading contexts one behind the other, for many orders at once: orders share their beginnings, so that
 * each distinct beginning is read once.
 */
import type { LanguageModel } from "../model/language-model.js";
import type { ContextState } from "../state/context-state.js";
import type { EvaluationContext } from "./query.js";
import { smallBatches } from "./small-batches.js";

/**
 * The state after each order. `single` are the contexts' own states, each read from the beginning of a sequence, by
 * rank: they begin every order.
 */
export async function readOrders(
  model: LanguageModel,
  contexts: readonly EvaluationContext[],
  single: readonly ContextState[],
  orders: readonly (readonly number[])[],
  signal?: AbortSignal,
): Promise<Map<string, ContextState>> {
  const wanted = new Set(orders.map(String));
  const results = new Map<string, ContextState>();
  let level = new Map<string, ContextState>();
  for (const order of orders) level.set(String(order.slice(0, 1)), single[order[0]!]!);
  keep(level, wanted, results);

  const longest = Math.max(0, ...orders.map((order) => order.length));
  for (let length = 2; length <= longest; length++) {
    const beginnings = new Map<string, readonly number[]>();
    for (const order of orders) {
      if (order.length >= length) beginnings.set(String(order.slice(0, length)), order.slice(0, length));
    }
    const requests = [...beginnings.values()].map((order) => ({
      tokens: contexts[order.at(-1)!]!.tokens,
      state: level.get(String(order.slice(0, -1)))!,
    }));
    const keys = [...beginnings.keys()];
    const states = new Map<string, ContextState>();
    for (const batch of smallBatches(requests)) {
      const read = await model.readMany(
        batch.map((index) => requests[index]!),
        { signal },
      );
      for (const [i, index] of batch.entries()) states.set(keys[index]!, read[i]!);
    }
    level = states;
    keep(level, wanted, results);
  }
  return results;
}

function keep(level: Map<string, ContextState>, wanted: Set<string>, results: Map<string, ContextState>): void {
  for (const [key, state] of level) if (wanted.has(key)) results.set(key, state);
}
