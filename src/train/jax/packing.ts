/**
 * Sequences of different lengths as groups of a few shapes, since each shape is compiled once. The shapes have about the
 * same number of tokens, so that buffers are used again.
 */
import { sequenceTooLong } from "../micro-batches.js";

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
    if (rows === 0) throw sequenceTooLong(sequences[byLength[at]!]!.length, groupTokens);
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
