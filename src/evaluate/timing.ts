/**
 * What each method costs at question time: from the stored states in memory, or the contexts' tokens, to the logits of
 * the first answer token. One query at a time, methods interleaved, so that all meet the same machine.
 */
import { compose } from "../compose/compose.js";
import { throwIfAborted } from "../errors.js";
import type { LanguageModel } from "../model/language-model.js";
import type { ContextState } from "../state/context-state.js";
import type { ContextStates } from "./context-states.js";
import { type Cells, cellsOf, type EvaluationMethod, type Start, startOf } from "./methods.js";
import type { EvaluationQuery } from "./query.js";

export interface Timing {
  method: EvaluationMethod;
  k: number;
  /** Median milliseconds to the first token. */
  milliseconds: number;
  queries: number;
}

/** Milliseconds of a method with so many contexts, where they were measured. */
export function millisecondsOf(
  timings: readonly Timing[],
  { method, k }: { method: EvaluationMethod; k: number },
): number | undefined {
  return timings.find((each) => each.method === method && each.k === k)?.milliseconds;
}

export async function measureTimings(
  model: LanguageModel,
  states: ContextStates,
  queries: readonly EvaluationQuery[],
  plan: Cells,
  signal?: AbortSignal,
): Promise<Timing[]> {
  const cells = cellsOf(plan, Number.POSITIVE_INFINITY).map((cell) => ({ ...cell, times: [] as number[] }));
  for (const query of queries) {
    const single = await states.get(query.contexts, signal);
    for (const { method, k, times } of cells) {
      if (k > query.contexts.length) continue;
      throwIfAborted(signal, "timing");
      const start = performance.now();
      await firstToken(model, states.beginning, query, startOf(method, k), single);
      times.push(performance.now() - start);
    }
  }
  return cells
    .filter(({ times }) => times.length > 0)
    .map(({ method, k, times }) => ({ method, k, milliseconds: median(times), queries: times.length }));
}

async function firstToken(
  model: LanguageModel,
  begin: readonly number[],
  query: EvaluationQuery,
  start: Start,
  single: ContextState[],
) {
  if (start.kind === "none") return model.forward([...begin, ...query.prompt]);
  if (start.kind === "composed") {
    const chosen = start.order.map((rank) => single[rank]!);
    return model.forward(query.prompt, { state: compose(chosen, start.method) });
  }
  const texts = start.orders.map((order) => [...begin, ...order.flatMap((rank) => query.contexts[rank]!.tokens)]);
  if (texts.length === 1) return model.forward([...texts[0]!, ...query.prompt]);
  return model.forward(query.prompt, { state: compose(await model.encodeMany(texts), "soup") });
}

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length / 2;
  return Number.isInteger(middle) ? (sorted[middle - 1]! + sorted[middle]!) / 2 : sorted[Math.floor(middle)]!;
}
