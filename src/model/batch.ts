/** Many sequences, each from its own state, in batches of similar length, so that little is padded. */
import { type ContextState, type StateShape, stateSizes } from "../state/context-state.js";
import type { ModelSession } from "./session.js";
import { type Advance, type AdvanceOptions, type Predictions, SEGMENT_TOKENS, StateBatch } from "./state-batch.js";

/** Tokens of a run, padding included: enough for the matrix products to reach their full rate. */
const batchTokens = 1024;

/** Most sequences of a batch, and bytes of their states. */
const batchSequences = 32;
const batchStateBytes = 256e6;

export interface Sequence extends Advance {
  /** The state to start from. */
  state: ContextState;
}

export interface BatchResult {
  batch: StateBatch;
  /** Place of the sequence in its batch. */
  index: number;
  predictions: Predictions;
}

/**
 * Runs all sequences; `take` turns each result into what is kept of it, in the order given. The batch is gone when it
 * returns.
 */
export async function runSequences<R>(
  session: ModelSession,
  sequences: readonly Sequence[],
  take: (result: BatchResult) => R | Promise<R>,
  options: AdvanceOptions = {},
): Promise<R[]> {
  const results = new Array<R>(sequences.length);
  if (sequences.length === 0) return [];
  const { shape } = sequences[0]!.state;
  const { ssm, conv } = stateSizes(shape);
  for (const group of groupByLength(sequences, mostSequences(shape))) {
    const members = group.map((index) => sequences[index]!);
    // The state of a sequence by itself is not copied out of its batch.
    const memory = group.length > 1 ? session.spare.take(group.length * (ssm + conv)) : undefined;
    const batch = new StateBatch(
      session,
      members.map(({ state }) => state),
      { memory },
    );
    try {
      const predictions = await batch.advance(members, options);
      for (const [i, index] of group.entries()) {
        results[index] = await take({ batch, index: i, predictions: predictions[i]! });
      }
      if (memory) session.spare.giveBack(memory);
    } finally {
      batch.dispose();
    }
  }
  return results;
}

/** How many sequences with states of this shape go into a batch. */
export function mostSequences(shape: StateShape): number {
  const { ssm, conv } = stateSizes(shape);
  return Math.max(1, Math.min(batchSequences, Math.floor(batchStateBytes / (4 * (ssm + conv)))));
}

/** Indices of the sequences in groups of similar length, of at most `most`. */
export function groupByLength(sequences: readonly { tokens: readonly number[] }[], most = batchSequences): number[][] {
  const length = (index: number) => sequences[index]!.tokens.length;
  const order = Array.from(sequences.keys()).sort((a, b) => length(a) - length(b) || a - b);
  const groups: number[][] = [];
  for (const index of order) {
    const group = groups.at(-1);
    const size = (group?.length ?? 0) + 1;
    const padded = Math.min(length(index), SEGMENT_TOKENS) * size;
    if (group && padded <= batchTokens && size <= most) group.push(index);
    else groups.push([index]);
  }
  return groups;
}
