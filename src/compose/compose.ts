/**
 * Composition: the states of several contexts become one, without reading a token again (PICASO, ICLR 2025, section 3).
 *
 * Letters: L layers, H heads, N state size, P head dimension, W convolution width kept, C convolution channels.
 */
import { PicasoError } from "../errors.js";
import {
  assertSameModel,
  ContextState,
  type ContextStateInit,
  type StateShape,
  stateSizes,
} from "../state/context-state.js";
import { floatTerm, type Term, type WeightedSumJob } from "./kernel/job.js";
import { weightedSum } from "./kernel/weighted-sum.js";
import { compareValues, summingOrder } from "./order.js";
import { assertLogDecays, type CompositionMethod, compositionWeights } from "./weights.js";

export interface ComposeOptions {
  /**
   * A composed state that is no longer needed: its ssm becomes the result's. Memory that the system has to find first
   * costs up to half the time of summing ten states. @default new arrays
   */
  reuse?: ContextState;
}

/**
 * One state for all contexts. Per layer and head, `ssm` is the sum of the contexts' by the weights of `method` (see
 * `compositionWeights`), computed in float64, rounded once and summed in float32. `conv` is the plain mean, for CASO
 * the last context's, as after reading the contexts one after the other. Log decays and token counts add up, so that
 * the result can be composed again.
 *
 * The result is equal bit for bit for all orders of the contexts with `soup` and `picaso-s`, and for all rotations with
 * `picaso-r`. Its arrays are new, also for one context, but for what it may reuse.
 *
 * @throws PicasoError `bad-argument` for no states, an unknown method or reuse of one of the states, `mismatch` for
 * states of different models.
 */
export function compose(
  states: readonly ContextState[],
  method: CompositionMethod,
  { reuse }: ComposeOptions = {},
): ContextState {
  for (const [k, state] of states.entries()) assertSameModel(states[0]!, state, `compose, state ${k}`);
  // Before the order changes, so that errors count the states as they were given.
  assertLogDecays(states.map((state) => state.logDecay));
  const ordered = summingOrder(states, method, compareValues).map(({ ssm, conv, ...state }) => ({
    ...state,
    ssm: floatTerm(ssm),
    conv: floatTerm(conv),
  }));
  return composeOrdered(ordered, method, roomForSsm(states, reuse), weightedSum);
}

function roomForSsm(states: readonly ContextState[], reuse: ContextState | undefined): Float32Array {
  if (!reuse) return new Float32Array(states[0]!.ssm.length);
  assertSameModel(states[0]!, reuse, "compose, state to reuse");
  if (!states.some(({ ssm }) => ssm.buffer === reuse.ssm.buffer)) return reuse.ssm;
  throw new PicasoError("bad-argument", {
    where: "compose, state to reuse",
    expected: "a state of its own",
    found: "the memory of one that is composed",
    next: "Reuse composed states that are no longer needed.",
  });
}

/** A state whose values are terms of a sum, wherever they stand. */
export interface ComposableState {
  fingerprint: string;
  shape: StateShape;
  tokens: number;
  logDecay: Float32Array | Float64Array;
  ssm: Term;
  conv: Term;
}

/** {@link compose} of states that are checked and in summing order, into `ssm`, by `sum`. */
export function composeOrdered(
  states: readonly ComposableState[],
  method: CompositionMethod,
  ssm: Float32Array,
  sum: (job: WeightedSumJob, part: "ssm" | "conv") => void,
): ContextState {
  const n = states.length;
  const { weights, ...rest } = composeBesideSsm(states, method, (job) => sum(job, "conv"));
  const { layers, heads, stateSize, headDim } = rest.shape;
  const ssmWeights = new Float32Array(layers * heads * n);
  for (let block = 0; block < layers * heads; block++) {
    for (let k = 0; k < n; k++) ssmWeights[block * n + k] = weights[k]![block]!;
  }
  const blockLength = stateSize * headDim;
  sum({ terms: states.map((state) => state.ssm), weights: ssmWeights, blockLength, out: ssm }, "ssm");
  return new ContextState({ ...rest, ssm });
}

/** All of {@link compose} but the sum of the recurrent states, and each state's weights in that, [L, H]. */
export function composeBesideSsm(
  states: readonly Omit<ComposableState, "ssm">[],
  method: CompositionMethod,
  sum: (job: WeightedSumJob) => void = weightedSum,
): Omit<ContextStateInit, "ssm"> & { weights: Float64Array[] } {
  const { fingerprint, shape } = states[0]!;
  const weights = compositionWeights(
    states.map((state) => state.logDecay),
    method,
  );
  const logDecay = new Float64Array(shape.layers * shape.heads);
  for (const state of states) {
    for (let i = 0; i < logDecay.length; i++) logDecay[i]! += state.logDecay[i]!;
  }
  const tokens = states.reduce((total, state) => total + state.tokens, 0);
  const conv = new Float32Array(stateSizes(shape).conv);
  if (conv.length > 0) {
    const terms = (method === "caso" ? states.slice(-1) : states).map((state) => state.conv);
    sum({ terms, weights: new Float32Array(terms.length).fill(1 / terms.length), blockLength: conv.length, out: conv });
  }
  return { fingerprint, shape, tokens, conv, logDecay, weights };
}
