/**
 * Mamba-2's recurrence as matrix products over chunks of tokens ("SSD", arXiv 2405.21060, section 6): within a chunk a
 * masked product (C B^T) * decay, between chunks a recurrence over one state a chunk, itself as a small product.
 * Decays stay sums of logarithms until they are exponentiated, and none is divided by: a decay of exp(-400) is zero.
 *
 * Letters: B batch, T tokens, Q tokens of a chunk, n chunks, H heads, P head dimension, N state size, G groups,
 * R = H/G heads of a group. In `contract`: b batch, c and d chunks, q and k tokens in a chunk, g group, r head in the
 * group, s state, p head dimension, m = (r, p).
 */
import { copy } from "./functions.js";
import { contract, np, type Tensor } from "./jax.js";

export interface ScanShape {
  /** G */
  groups: number;
  /** H */
  heads: number;
  /** P */
  headDim: number;
  /** N */
  stateSize: number;
}

export interface ScanInputs {
  /** [B, T, G*N] */
  c: Tensor;
  /** [B, T, G*N] */
  b: Tensor;
  /** [B, T, H*P] */
  value: Tensor;
  /** [B, T, H], log of the transitions, <= 0; 0 with value 0 at padding. */
  logA: Tensor;
  /** [B, H, N, P], or null for the zero state. */
  past: Tensor | null;
}

/** exp of this is 0 in float32, and unlike -Infinity it has a gradient that is 0 and not NaN. */
const never = -1e4;

/**
 * `S_t = exp(logA_t) S_{t-1} + B_t (x) value_t`, `y_t = C_t^T S_t`, from the state `past`: output [B, T, H*P], present
 * [B, H, N, P]. Only inside `jit`; borrows. Rounding: a sum of logs inside a chunk is a difference of two cumulative
 * sums, so its absolute error is 2^-24 times the chunk's total, 4e-5 where a chunk decays by e^-640.
 */
export function chunkedScan(inputs: ScanInputs, shape: ScanShape, chunk: number): { output: Tensor; present: Tensor } {
  const { groups, heads, headDim, stateSize } = shape;
  const perGroup = heads / groups;
  const [batch, tokens] = inputs.logA.shape as [number, number];
  const size = Math.min(chunk, tokens);
  const chunks = Math.ceil(tokens / size);
  const cutUp = (x: Tensor, ...last: number[]) => padTokens(x, chunks * size).reshape([batch, chunks, size, ...last]);
  const c = cutUp(inputs.c, groups, stateSize);
  const b = cutUp(inputs.b, groups, stateSize);
  const value = cutUp(inputs.value, groups, perGroup, headDim);
  const logA = cutUp(inputs.logA, groups, perGroup);

  // Inclusive cumulative sums within each chunk: from its beginning through token q.
  const sums = contract("qk,bckgr->bcqgr", np.tri(size, size), logA);
  const total = sums.ref.slice([], [], size - 1);

  const within = withinChunks(c, b, value, sums, size);

  // What each chunk adds to the state, decayed to the chunk's end.
  const toEnd = np.exp(total.ref.reshape([batch, chunks, 1, groups, perGroup]).sub(sums.ref));
  const decayed = value.ref.mul(expandLast(toEnd)).reshape([batch, chunks, size, groups, perGroup * headDim]);
  // Copied state by token: from the other order, jax-js makes a scalar kernel of the gradient, 30 times as slow.
  const bByState = copy(b.ref.transpose([0, 1, 3, 4, 2]));
  const added = contract("bcgsk,bckgm->bcgsm", bByState, decayed);

  const past = inputs.past?.ref
    .reshape([batch, groups, perGroup, stateSize, headDim])
    .transpose([0, 1, 3, 2, 4])
    .reshape([batch, groups, stateSize, perGroup * headDim]);
  const { starts, final } = betweenChunks(added, total, past ?? null, headDim);
  let output = within;
  if (starts) {
    const read = contract("bcqgs,bcgsm->bcqgm", c, starts).reshape(value.shape);
    output = output.add(read.mul(expandLast(np.exp(sums.ref))));
  }
  return {
    output: output.reshape([batch, chunks * size, heads * headDim]).slice([], [0, tokens]),
    present: final
      .reshape([batch, groups, stateSize, perGroup, headDim])
      .transpose([0, 1, 3, 2, 4])
      .reshape([batch, heads, stateSize, headDim]),
  };
}

/** What the tokens of a chunk read from earlier tokens of the same chunk: [B, n, Q, G, R, P]. */
function withinChunks(c: Tensor, b: Tensor, value: Tensor, sums: Tensor, size: number): Tensor {
  const [batch, chunks, , groups, perGroup] = value.shape as [number, number, number, number, number];
  const bySource = sums.ref.transpose([0, 1, 3, 4, 2]);
  const difference = bySource.ref
    .reshape([batch, chunks, groups, perGroup, size, 1])
    .sub(bySource.reshape([batch, chunks, groups, perGroup, 1, size]));
  const causal = np.tri(size, size, 0, { dtype: np.bool });
  const decay = np.exp(np.where(causal, difference, never));
  const scores = contract("bcqgs,bckgs->bcgqk", c, b).reshape([batch, chunks, groups, 1, size, size]);
  return contract("bcgrqk,bckgrp->bcqgrp", decay.mul(scores), value);
}

/**
 * The states at the beginning of each chunk [B, n, G, N, R*P] (null where all are zero) and after the last one
 * [B, G, N, R*P]. `added` [B, n, G, N, R*P] is what each chunk adds, `total` [B, n, G, R] the log decay over it.
 */
function betweenChunks(
  added: Tensor,
  total: Tensor,
  past: Tensor | null,
  headDim: number,
): { starts: Tensor | null; final: Tensor } {
  const [batch, chunks, groups, stateSize] = added.shape as [number, number, number, number];
  const perGroup = total.shape[3]!;
  const spread = (x: Tensor) => x.reshape([batch, groups, stateSize, perGroup * headDim]);
  if (chunks === 1) {
    const own = spread(added.ref);
    if (!past) return { starts: null, final: own };
    const decay = np.exp(total.ref).reshape([batch, groups, 1, perGroup, 1]);
    const kept = spread(past.ref.reshape([batch, groups, stateSize, perGroup, headDim]).mul(decay));
    return { starts: past.ref.reshape(added.shape), final: own.add(kept) };
  }
  // Cumulative log decay from the first chunk's beginning to each border, 0 .. n: [B, G, R, n + 1].
  const borders = contract("dc,bcgr->bgrd", np.tri(chunks + 1, chunks, -1), total);
  // What chunk c added still counts at border d by the decay from border c + 1 to d.
  const ends = borders.ref.slice([], [], [], [1, chunks + 1]).reshape([batch, groups, perGroup, 1, chunks]);
  const difference = borders.ref.reshape([batch, groups, perGroup, chunks + 1, 1]).sub(ends);
  const isBefore = np.tri(chunks + 1, chunks, -1, { dtype: np.bool });
  const weights = np.exp(np.where(isBefore, difference, never));
  const parts = added.ref.reshape([batch, chunks, groups, stateSize, perGroup, headDim]);
  let states = contract("bgrdc,bcgsrp->bdgsrp", weights, parts);
  if (past) {
    const decay = np.exp(borders.ref.transpose([0, 3, 1, 2])).reshape([batch, chunks + 1, groups, 1, perGroup, 1]);
    states = states.add(past.ref.reshape([batch, 1, groups, stateSize, perGroup, headDim]).mul(decay));
  }
  states = states.reshape([batch, chunks + 1, groups, stateSize, perGroup * headDim]);
  return { starts: states.ref.slice([], [0, chunks]), final: states.slice([], chunks) };
}

/** Appends zeros along T. */
function padTokens(x: Tensor, tokens: number): Tensor {
  const missing = tokens - x.shape[1]!;
  return missing === 0
    ? x.ref
    : np.pad(x.ref, [
        [0, 0],
        [0, missing],
        [0, 0],
      ]);
}

function expandLast(x: Tensor): Tensor {
  return x.reshape([...x.shape, 1]);
}
