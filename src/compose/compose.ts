/**
 * Composition: the states of several contexts become one, without reading a token again (PICASO, ICLR 2025, section 3).
 *
 * Letters: L layers, H heads, N state size, P head dimension, W convolution width kept, C convolution channels.
 */
import { assertSameModel, ContextState } from "../state/context-state.js";
import { weightedSum } from "./kernel/weighted-sum.js";
import { summingOrder } from "./order.js";
import { assertLogDecays, type CompositionMethod, compositionWeights } from "./weights.js";

/**
 * One state for all contexts. Per layer and head, `ssm` is the sum of the contexts' by the weights of `method` (see
 * `compositionWeights`), computed in float64, rounded once and summed in float32. `conv` is the plain mean, for CASO
 * the last context's, as after reading the contexts one after the other. Log decays and token counts add up, so that
 * the result can be composed again.
 *
 * The result is equal bit for bit for all orders of the contexts with `soup` and `picaso-s`, and for all rotations with
 * `picaso-r`. Its arrays are new, also for one context.
 *
 * @throws PicasoError `bad-argument` for no states or an unknown method, `mismatch` for states of different models.
 */
export function compose(states: readonly ContextState[], method: CompositionMethod): ContextState {
  for (const [k, state] of states.entries()) assertSameModel(states[0]!, state, `compose, state ${k}`);
  // Before the order changes, so that errors count the states as they were given.
  assertLogDecays(states.map((state) => state.logDecay));
  const ordered = summingOrder(states, method);
  const weights = compositionWeights(
    ordered.map((state) => state.logDecay),
    method,
  );
  const n = ordered.length;
  const { fingerprint, shape } = ordered[0]!;

  const ssm = new Float32Array(ordered[0]!.ssm.length);
  const blocks = shape.layers * shape.heads;
  const ssmWeights = new Float32Array(blocks * n);
  for (let block = 0; block < blocks; block++) {
    for (let k = 0; k < n; k++) ssmWeights[block * n + k] = weights[k]![block]!;
  }
  weightedSum({
    inputs: ordered.map((state) => state.ssm),
    weights: ssmWeights,
    blockLength: shape.stateSize * shape.headDim,
    out: ssm,
  });

  const logDecay = new Float64Array(blocks);
  for (const state of ordered) {
    for (let i = 0; i < blocks; i++) logDecay[i]! += state.logDecay[i]!;
  }
  const tokens = ordered.reduce((sum, state) => sum + state.tokens, 0);
  const conv = method === "caso" ? ordered[n - 1]!.conv.slice() : mean(ordered.map((state) => state.conv));
  return new ContextState({ fingerprint, shape, tokens, ssm, conv, logDecay });
}

function mean(arrays: Float32Array[]): Float32Array {
  const out = new Float32Array(arrays[0]!.length);
  if (out.length === 0) return out;
  const weights = new Float32Array(arrays.length).fill(1 / arrays.length);
  weightedSum({ inputs: arrays, weights, blockLength: out.length, out });
  return out;
}
