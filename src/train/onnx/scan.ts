/**
 * The recurrence of Mamba-2 as products of matrices (arXiv 2405.21060, section 6): within a chunk of tokens, outputs
 * are a masked product of scores and values; across chunks, states go on with the decay of whole chunks.
 *
 * Letters: B batch, T tokens, K chunks, Q tokens of a chunk, H heads, G groups, J = H/G heads of a group, P head
 * dimension, N state size. States are [B, G, N, J*P] here: all heads of a group in one matrix, since they share B and C.
 */

import type { Mamba2Config } from "../../model/config.js";
import type { Dimension } from "../../onnx/graph.js";
import type { Tensor } from "../../onnx/tape.js";
import { add, cumSum, exp, matMul, mul, reshape, sub, sum, transpose } from "../../onnx/tensor-ops.js";

/** How a batch of sequences is cut into chunks: all of one length, that divides T. */
export interface Chunks {
  /** [Q, Q]: 0 where a token sees another (itself and those before it), a very negative number elsewhere. */
  mask: Tensor;
  /** [K, K]: the same where a chunk comes strictly after another. Null where there is one chunk only. */
  after: Tensor | null;
}

export interface ScanInputs {
  /** [B, T, G*N] */
  c: Tensor;
  /** [B, T, G*N] */
  b: Tensor;
  /** [B, T, H*P] */
  value: Tensor;
  /** [B, T, H] */
  logA: Tensor;
  /** [B, G, N, J*P] */
  past: Tensor;
}

/** output [B, T, H*P], present [B, G, N, J*P]. */
export function chunkedScan(
  { c, b, value, logA, past }: ScanInputs,
  { groups: G, heads, headDim: P, stateSize: N }: Pick<Mamba2Config, "groups" | "heads" | "headDim" | "stateSize">,
  { mask, after }: Chunks,
): { output: Tensor; present: Tensor } {
  const J = heads / G;
  const [B, T] = value.shape as [Dimension, Dimension];
  const Q = mask.shape[0]!;
  const K: Dimension = after ? after.shape[0]! : 1;

  /** [B, T, G*X] -> [B, K, G, Q, X] */
  const byGroup = (x: Tensor, size: number) => transpose(reshape(x, [B, K, Q, G, size]), [0, 1, 3, 2, 4]);
  const cs = byGroup(c, N);
  const bs = byGroup(b, N);
  const steps = reshape(logA, [B, K, Q, G, J]);
  const ends = cumSum(steps, 2);
  /** Log decay over a chunk: [B, K, 1, G, J] */
  const total = sum(steps, [2]);

  const within = intraChunk(cs, bs, value, ends, mask, [B, K, Q, G, J, P]);

  // What a chunk adds to the state at its own end.
  const toEnd = exp(sub(total, ends));
  const scaled = mul(reshape(value, [B, K, Q, G, J, P]), reshape(toEnd, [B, K, Q, G, J, 1]));
  const added = matMul(bs, byGroup(reshape(scaled, [B, T, heads * P]), J * P), { transA: true });

  const { before, present } = after
    ? acrossChunks(added, total, past, after, [B, K, G, N, J, P])
    : acrossOne(added, total, past, [B, G, N, J, P]);
  const read = transpose(matMul(cs, before), [0, 1, 3, 2, 4]);
  const across = mul(reshape(read, [B, K, Q, G, J, P]), reshape(exp(ends), [B, K, Q, G, J, 1]));
  return { output: reshape(add(across, within), [B, T, heads * P]), present };
}

/** What the tokens of a chunk give each other: [B, K, Q, G, J, P]. */
function intraChunk(
  cs: Tensor,
  bs: Tensor,
  value: Tensor,
  ends: Tensor,
  mask: Tensor,
  [B, K, Q, G, J, P]: readonly [Dimension, Dimension, Dimension, number, number, number],
): Tensor {
  const H = G * J;
  const scores = reshape(matMul(cs, bs, { transB: true }), [B, K, G, 1, Q, Q]);
  const decay = reshape(transpose(reshape(ends, [B, K, Q, H]), [0, 1, 3, 2]), [B, K, G, J, Q, 1]);
  const difference = sub(decay, reshape(decay, [B, K, G, J, 1, Q]));
  // The mask comes before the exponential: above the diagonal the differences are positive and could overflow.
  const weights = mul(exp(add(difference, mask)), scores);
  const values = transpose(reshape(value, [B, K, Q, H, P]), [0, 1, 3, 2, 4]);
  const outputs = matMul(reshape(weights, [B, K, H, Q, Q]), values);
  return reshape(transpose(outputs, [0, 1, 3, 2, 4]), [B, K, Q, G, J, P]);
}

/** The state before and after a single chunk: before [B, 1, G, N, J*P]. */
function acrossOne(
  added: Tensor,
  total: Tensor,
  past: Tensor,
  [B, G, N, J, P]: readonly [Dimension, number, number, number, number],
): { before: Tensor; present: Tensor } {
  const kept = mul(reshape(past, [B, G, N, J, P]), exp(reshape(total, [B, G, 1, J, 1])));
  const present = add(reshape(added, [B, G, N, J, P]), kept);
  return { before: reshape(past, [B, 1, G, N, J * P]), present: reshape(present, [B, G, N, J * P]) };
}

/** The state before each chunk, [B, K, G, N, J*P], and after the last. */
function acrossChunks(
  added: Tensor,
  total: Tensor,
  past: Tensor,
  after: Tensor,
  [B, K, G, N, J, P]: readonly [Dimension, Dimension, number, number, number, number],
): { before: Tensor; present: Tensor } {
  const H = G * J;
  /** One matrix per head, a row for each chunk: [B, H, X, N*P] */
  const byHead = (x: Tensor, rows: Dimension) =>
    reshape(transpose(reshape(x, [B, rows, G, N, J, P]), [0, 2, 4, 1, 3, 5]), [B, H, rows, N * P]);
  const decay = transpose(reshape(total, [B, K, H]), [0, 2, 1]);
  const inclusive = reshape(cumSum(decay, 2), [B, H, 1, K]);
  const exclusive = reshape(cumSum(decay, 2, { exclusive: true }), [B, H, K, 1]);
  const all = reshape(sum(decay, [2]), [B, H, 1, 1]);
  const own = byHead(added, K);
  const old = byHead(past, 1);
  const step = matMul(exp(add(sub(exclusive, inclusive), after)), own);
  const before = add(step, mul(old, exp(exclusive)));
  const present = add(matMul(exp(sub(all, inclusive)), own), mul(old, exp(all)));
  const back = (x: Tensor, rows: Dimension) =>
    reshape(transpose(reshape(x, [B, G, J, rows, N, P]), [0, 3, 1, 4, 2, 5]), [B, rows, G, N, J * P]);
  return { before: back(before, K), present: reshape(back(present, 1), [B, G, N, J * P]) };
}
