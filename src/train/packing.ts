/**
 * Batches of examples in parts that fit into memory, and sequences of different lengths as groups of a few shapes, since
 * each shape is compiled once. The shapes have about the same number of tokens, so that buffers are used again.
 */
import { PicasoError } from "../errors.js";
import type { TrainingExample } from "./example.js";

export interface SequenceGroup {
  /** Which sequences, in the order of the rows; the rows after them are empty. */
  members: number[];
  rows: number;
  /** T, of every row */
  length: number;
  /** [rows, length], padded on the right with token 0. */
  tokens: Int32Array;
  /** [rows], how many tokens of each row are real. */
  lengths: Int32Array;
}

/** Lengths that rows are padded to: at most half more than they have, from 128 on a quarter. */
const bucketLengths = [32, 48, 64, 96, 128, 160, 192, 224, 256, 320, 384, 448, 512, 640, 768];

/** The padded length of a row with this many tokens. */
export function bucketLength(tokens: number): number {
  const multiple = 768;
  return bucketLengths.find((length) => length >= tokens) ?? Math.ceil(tokens / multiple) * multiple;
}

/**
 * Packs sequences, long ones together, into groups of at most `groupTokens` tokens with padding. Throws `bad-argument`
 * for a sequence that alone is longer.
 */
export function packSequences(sequences: readonly (readonly number[])[], groupTokens: number): SequenceGroup[] {
  const byLength = Array.from(sequences.keys()).sort((a, b) => sequences[b]!.length - sequences[a]!.length || a - b);
  const groups: SequenceGroup[] = [];
  for (let at = 0; at < byLength.length; ) {
    const length = bucketLength(sequences[byLength[at]!]!.length);
    const rows = Math.floor(groupTokens / length);
    if (rows === 0) throw tooLong(sequences[byLength[at]!]!.length, groupTokens);
    const members = byLength.slice(at, at + rows);
    groups.push(pack(sequences, members, rowCount(members.length, rows), length));
    at += rows;
  }
  return groups;
}

/** Rows of a group with `members` sequences: the fewest that hold them of the full number, its halves and 3/4 of each. */
function rowCount(members: number, full: number): number {
  let fewest = full;
  for (let rows = full; rows >= members; rows = Math.ceil(rows / 2)) {
    const smaller = Math.ceil((3 * rows) / 4);
    fewest = smaller >= members ? smaller : rows;
    if (rows === 1) break;
  }
  return fewest;
}

function pack(
  sequences: readonly (readonly number[])[],
  members: number[],
  rows: number,
  length: number,
): SequenceGroup {
  const tokens = new Int32Array(rows * length);
  const lengths = new Int32Array(rows);
  for (const [row, member] of members.entries()) {
    tokens.set(sequences[member]!, row * length);
    lengths[row] = sequences[member]!.length;
  }
  return { members, rows, length, tokens, lengths };
}

function tooLong(tokens: number, limit: number): PicasoError {
  return new PicasoError("bad-argument", {
    where: "training example",
    expected: `at most ${limit} tokens in a context or in query and target together`,
    found: `${tokens}`,
    next: "Cut passages shorter, or raise groupTokens (--group-tokens) if memory allows: the training goes on.",
  });
}

export interface BatchLimits {
  /** Tokens of a group with padding: bounds the memory of one layer's inside. */
  groupTokens: number;
  /** Contexts of a micro-batch: bounds the memory of kept states, all layers. */
  groupContexts: number;
}

/** Splits a batch into micro-batches within the limits (one example may exceed that of contexts), in a fixed order. */
export function planMicroBatches(examples: readonly TrainingExample[], limits: BatchLimits): TrainingExample[][] {
  const size = (example: TrainingExample) => example.query.length + example.target.length;
  const byLength = Array.from(examples.keys()).sort((a, b) => size(examples[b]!) - size(examples[a]!) || a - b);
  const batches: TrainingExample[][] = [];
  let contexts = 0;
  let rows = 0;
  for (const index of byLength) {
    const example = examples[index]!;
    contexts += example.contexts.length;
    if (batches.length === 0 || batches.at(-1)!.length >= rows || contexts > limits.groupContexts) {
      batches.push([]);
      contexts = example.contexts.length;
      rows = Math.max(1, Math.floor(limits.groupTokens / bucketLength(size(example) - 1)));
    }
    batches.at(-1)!.push(example);
  }
  return batches;
}
