/**
 * A batch of examples as arrays of fixed shapes: contexts in groups of rows, queries with their targets in one group,
 * the places of contexts in their examples, and the positions to score.
 *
 * Letters: E rows of queries (some empty), K slots for contexts, R rows of a group of contexts.
 */
import type { TrainingExample } from "../example.js";
import type { ContextPlaces } from "./compose-states.js";
import type { Predictions } from "./head.js";
import { np, type Tensor, tree } from "./jax.js";
import { packSequences, type SequenceGroup } from "./packing.js";

export interface PlacedGroup {
  /** [R, T] int32 */
  tokens: Tensor;
  /** [R] int32 */
  lengths: Tensor;
}

/** A micro-batch on the engine; whoever made it disposes of it. */
export interface MicroBatch {
  contexts: PlacedGroup[];
  places: ContextPlaces;
  query: PlacedGroup;
  /** In parts of one size. */
  predictions: Predictions[];
  dispose(): void;
}

/** Predictions scored in one call: bounds the memory of logits. */
const scoredRows = 256;

/** Puts a micro-batch on the engine. The loss of each target token is to be multiplied by `weight`. */
export function placeMicroBatch(examples: readonly TrainingExample[], groupTokens: number, weight: number): MicroBatch {
  const contexts = examples.flatMap((example, e) => example.contexts.map((tokens, k) => ({ tokens, e, k })));
  const groups = packSequences(
    contexts.map(({ tokens }) => tokens),
    groupTokens,
  );
  // The last target is only predicted, never read.
  const queries = examples.map(({ query, target }) => [...query, ...target.slice(0, -1)]);
  const [query, ...others] = packSequences(queries, groupTokens);
  if (!query || others.length > 0) throw new Error("a micro-batch has one group of queries");

  const slots = slotCount(Math.max(0, ...examples.map((example) => example.contexts.length)));
  const rowOf = new Map(query.members.map((member, row) => [member, row]));
  const filled = new Float32Array(query.rows * slots);
  const slotsOf = groups.map((group) => {
    const slot = new Float32Array(group.rows * query.rows * slots);
    for (const [row, member] of group.members.entries()) {
      const { e, k } = contexts[member]!;
      const place = rowOf.get(e)! * slots + k;
      slot[row * query.rows * slots + place] = 1;
      filled[place] = 1;
    }
    return np.array(slot).reshape([group.rows, query.rows, slots]);
  });

  const positions = query.members.flatMap((member, row) => {
    const { query: read, target } = examples[member]!;
    return target.map((token, i) => ({ row: row * query.length + read.length - 1 + i, token }));
  });
  const batch = {
    contexts: groups.map(placeGroup),
    places: { slots: slotsOf, filled: np.array(filled).reshape([query.rows, slots]) },
    query: placeGroup(query),
    predictions: placePredictions(positions, weight),
  };
  return { ...batch, dispose: () => tree.dispose(batch) };
}

/** Slots of every example: the next power of two, to have few shapes. */
function slotCount(contexts: number): number {
  return 2 ** Math.ceil(Math.log2(Math.max(1, contexts)));
}

function placeGroup(group: SequenceGroup): PlacedGroup {
  return {
    tokens: np.array(group.tokens, { dtype: np.int32 }).reshape([group.rows, group.length]),
    lengths: np.array(group.lengths, { dtype: np.int32 }),
  };
}

function placePredictions(positions: { row: number; token: number }[], weight: number): Predictions[] {
  const parts: Predictions[] = [];
  for (let start = 0; start < positions.length; ) {
    const rest = positions.length - start;
    const size = rest > scoredRows / 4 ? scoredRows : scoredRows / 4;
    const part = positions.slice(start, start + size);
    const padded = (values: number[]) => Int32Array.from({ length: size }, (_, i) => values[i] ?? 0);
    parts.push({
      rows: np.array(padded(part.map(({ row }) => row)), { dtype: np.int32 }),
      targets: np.array(padded(part.map(({ token }) => token)), { dtype: np.int32 }),
      weights: np.array(Float32Array.from({ length: size }, (_, i) => (i < part.length ? weight : 0))),
    });
    start += size;
  }
  return parts;
}
