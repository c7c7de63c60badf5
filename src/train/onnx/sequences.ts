/**
 * Sequences of tokens side by side, padded on the right to one length, and what the graphs are told of them.
 *
 * Letters: B sequences, T tokens of each with padding, K chunks of Q tokens, W convolution width kept, D hidden size.
 */
import type { Mamba2Config } from "../../model/config.js";
import type { Tape } from "../../onnx/tape.js";
import type { Feed } from "./feeds.js";
import type { SequenceInputs } from "./operations.js";

/** How much more than its own tokens a batch has. */
export interface Padding {
  /** Tokens of a chunk at most: the work within a chunk grows with its square, that across chunks with their number. */
  maxChunk: number;
  /** At least `count` sequences, slots or positions. */
  count(count: number): number;
  /** At least `tokens` tokens of a sequence. */
  length(tokens: number): number;
}

/** On the CPU no more than needed. */
export const noPadding: Padding = { maxChunk: 128, count: (count) => count, length: (tokens) => tokens };

/** Stands for minus infinity, with room for what is added to it. */
const hidden = -1e30;

/** The two kinds of sequences in a graph. */
export type Side = "context" | "query";

export interface PaddedSequences {
  side: Side;
  sequences: readonly (readonly number[])[];
  /** T */
  length: number;
  /** K */
  chunks: number;
}

/** Pads to the longest sequence, and on to a whole number of chunks. */
export function padSequences(
  side: Side,
  sequences: readonly (readonly number[])[],
  { maxChunk, count, length }: Padding,
): PaddedSequences {
  const longest = length(Math.max(1, ...sequences.map((tokens) => tokens.length)));
  const chunks = Math.ceil(longest / maxChunk);
  const empty = Array.from({ length: count(sequences.length) - sequences.length }, () => []);
  return { side, sequences: [...sequences, ...empty], chunks, length: Math.ceil(longest / chunks) * chunks };
}

/** Sizes of a side's tensors by name: E examples, C contexts. */
export function sizes(side: Side) {
  return { B: side === "query" ? "E" : "C", T: `T.${side}`, Q: `Q.${side}`, K: `K.${side}` } as const;
}

/** The inputs of a graph for a side; `isOne` where all its sequences are single chunks. */
export function sequenceInputs(tape: Tape, side: Side, isOne: boolean, { convKernel }: Mamba2Config): SequenceInputs {
  const { B, T, Q, K } = sizes(side);
  const width = convKernel - 1;
  return {
    isToken: tape.input(`${side}.isToken`, [B, T, 1]),
    tail: tape.input(`${side}.tail`, [B, width, T]),
    pastTail: tape.input(`${side}.pastTail`, [B, width, width]),
    chunks: {
      mask: tape.input(`${side}.mask`, [Q, Q]),
      after: isOne ? null : tape.input(`${side}.after`, [K, K]),
    },
  };
}

/** The arrays for {@link sequenceInputs}. */
export function sequenceFeeds({ side, sequences, length, chunks }: PaddedSequences, config: Mamba2Config): Feed[] {
  const width = config.convKernel - 1;
  const count = sequences.length;
  const isToken = new Float32Array(count * length);
  const tail = new Float32Array(count * width * length);
  const pastTail = new Float32Array(count * width * width);
  for (const [b, { length: tokens }] of sequences.entries()) {
    isToken.fill(1, b * length, b * length + tokens);
    for (let i = 0; i < width; i++) {
      const at = tokens - width + i;
      if (at >= 0) tail[(b * width + i) * length + at] = 1;
      else pastTail[(b * width + i) * width + width + at] = 1;
    }
  }
  const chunk = length / chunks;
  return [
    { name: `${side}.isToken`, data: isToken, shape: [count, length, 1] },
    { name: `${side}.tail`, data: tail, shape: [count, width, length] },
    { name: `${side}.pastTail`, data: pastTail, shape: [count, width, width] },
    { name: `${side}.mask`, data: lowerTriangle(chunk, 0), shape: [chunk, chunk] },
    { name: `${side}.after`, data: lowerTriangle(chunks, 1), shape: [chunks, chunks] },
  ];
}

/** [size, size]: 0 where the row is at least `distance` after the column. */
export function lowerTriangle(size: number, distance: number): Float32Array {
  return Float32Array.from({ length: size * size }, (_, i) =>
    Math.floor(i / size) >= (i % size) + distance ? 0 : hidden,
  );
}

/** Rows of the embeddings [vocabulary, D] for every token, zeros for padding: [B, T, D]. */
export function embed({ sequences, length }: PaddedSequences, embeddings: Float32Array, D: number): Float32Array {
  const residual = new Float32Array(sequences.length * length * D);
  for (const [b, tokens] of sequences.entries()) {
    for (const [t, id] of tokens.entries()) {
      residual.set(embeddings.subarray(id * D, (id + 1) * D), (b * length + t) * D);
    }
  }
  return residual;
}

/** Adds the gradient of {@link embed}'s result to that of the embeddings. */
export function embedBackward(
  { sequences, length }: PaddedSequences,
  gradient: Float32Array,
  D: number,
  embeddings: Float32Array,
): void {
  for (const [b, tokens] of sequences.entries()) {
    for (const [t, id] of tokens.entries()) {
      const from = (b * length + t) * D;
      for (let d = 0; d < D; d++) embeddings[id * D + d]! += gradient[from + d]!;
    }
  }
}
