/**
 * Composition of context states as differentiable operations (PICASO, ICLR 2025, section 3). Every method but PICASO-S
 * is a sum over runs of contexts that follow one another around the circle,
 *
 *   W_k = sum_m c[k, m] A_{k+1} ... A_{k+m}, indices modulo K,
 *
 * with numbers c that depend on the method alone; PICASO-S is an integral, see compose/picaso-s.ts.
 *
 * The contexts of all examples stand one after the other, and each example has as many slots as the one with the most
 * contexts. A slot without a context has the state zero and the decay one, so that it changes nothing wherever it stands.
 *
 * Letters: C contexts, E examples, K slots for contexts of an example, H heads, G groups, N state size, P head dimension, J = H/G,
 * W convolution width kept.
 */
import { gaussLegendre } from "../../compose/gauss-legendre.js";
import { nodesNeeded } from "../../compose/picaso-s.js";
import type { CompositionMethod } from "../../compose/weights.js";
import type { Mamba2Config } from "../../model/config.js";
import { pickRows } from "../../onnx/network-ops.js";
import type { Tape, Tensor } from "../../onnx/tape.js";
import { exp, log, matMul, mul, reshape, sub, sum, transpose } from "../../onnx/tensor-ops.js";
import type { Feed } from "./feeds.js";

/** States of the contexts in one layer: ssm [C, G, N, J*P], conv [C, W, channels], logDecay [C, H]. */
export interface ContextStates {
  ssm: Tensor;
  conv: Tensor;
  logDecay: Tensor;
}

type StateSizes = Pick<Mamba2Config, "heads" | "groups" | "stateSize" | "headDim" | "convKernel" | "convDim">;

/** The composed state of each example: ssm [E, G, N, J*P], conv [E, W, channels]. */
export function composeStates(
  tape: Tape,
  { ssm, conv, logDecay }: ContextStates,
  method: CompositionMethod,
  { heads: H, groups: G, stateSize: N, headDim: P, convKernel, convDim }: StateSizes,
): { ssm: Tensor; conv: Tensor } {
  const J = H / G;
  const slots = tape.input("compose.slots", ["E*K"], "i64");
  const places = tape.input("compose.places", ["C"], "i64");
  const inSlots = (x: Tensor, size: number) => pickRows(reshape(x, ["C", size]), slots, places);
  const byHead = transpose(reshape(inSlots(logDecay, H), ["E", "K", H]), [0, 2, 1]);
  const weights = transpose(method === "picaso-s" ? arrivals(tape, byHead, H) : runs(tape, byHead, H), [0, 2, 1]);
  const weighted = mul(
    reshape(inSlots(ssm, H * N * P), ["E", "K", G, N, J, P]),
    reshape(weights, ["E", "K", G, 1, J, 1]),
  );
  const share = reshape(tape.input("compose.conv", ["E", "K"]), ["E", "K", 1, 1]);
  const convs = mul(reshape(inSlots(conv, (convKernel - 1) * convDim), ["E", "K", convKernel - 1, convDim]), share);
  return {
    ssm: reshape(sum(weighted, [1]), ["E", G, N, J * P]),
    conv: reshape(sum(convs, [1]), ["E", convKernel - 1, convDim]),
  };
}

/** W [E, H, K] from log decays [E, H, K]. */
function runs(tape: Tape, logDecay: Tensor, H: number): Tensor {
  const members = tape.input("compose.members", ["K", "K*K"]);
  const coefficients = reshape(tape.input("compose.coefficients", ["E", "K", "K"]), ["E", 1, "K", "K"]);
  const logs = matMul(reshape(logDecay, ["E*H", "K"]), members);
  const terms = mul(exp(reshape(logs, ["E", H, "K", "K"])), coefficients);
  return reshape(sum(terms, [3]), ["E", H, "K"]);
}

/** W_k = integral of prod_{j != k} (1 - s (1 - A_j)) by quadrature. */
function arrivals(tape: Tape, logDecay: Tensor, H: number): Tensor {
  const nodes = tape.input("compose.nodes", ["nodes"]);
  const nodeWeights = tape.input("compose.nodeWeights", ["nodes"]);
  const loss = reshape(sub(tape.scalar(1), exp(logDecay)), ["E", H, "K", 1]);
  const terms = log(sub(tape.scalar(1), mul(loss, nodes)));
  const others = sub(sum(terms, [2]), terms);
  return reshape(sum(mul(exp(others), nodeWeights), [3]), ["E", H, "K"]);
}

/**
 * The inputs of {@link composeStates} for examples with these numbers of contexts, the first slots of each. Behind the
 * contexts there may be more sequences, up to `sequences`, that are nobody's.
 */
export function compositionFeeds(
  counts: readonly number[],
  slots: number,
  method: CompositionMethod,
  sequences = counts.reduce((a, b) => a + b, 0),
): Feed[] {
  const examples = counts.length;
  const isOrdered = method === "caso";
  const conv = new Float32Array(examples * slots);
  for (const [e, n] of counts.entries()) {
    if (isOrdered && n > 0) conv[e * slots + n - 1] = 1;
    else conv.fill(1 / n, e * slots, e * slots + n);
  }
  const feeds: Feed[] = [
    { name: "compose.conv", data: conv, shape: [examples, slots] },
    ...placeFeeds(counts, slots, sequences),
  ];
  if (method === "picaso-s") {
    const { s, weight } = gaussLegendre(nodesNeeded(slots));
    feeds.push({ name: "compose.nodes", data: Float32Array.from(s), shape: [s.length] });
    feeds.push({ name: "compose.nodeWeights", data: Float32Array.from(weight), shape: [s.length] });
    return feeds;
  }
  const coefficients = new Float32Array(examples * slots * slots);
  for (const [e, n] of counts.entries()) {
    for (let k = 0; k < slots; k++) {
      for (let m = 0; m < slots; m++) {
        coefficients[(e * slots + k) * slots + m] = coefficient(method, k, m, n, slots);
      }
    }
  }
  feeds.push({ name: "compose.coefficients", data: coefficients, shape: [examples, slots, slots] });
  feeds.push({ name: "compose.members", data: runMembers(slots), shape: [slots, slots * slots] });
  return feeds;
}

/** Which context stands in each slot, and where each context stands. */
function placeFeeds(counts: readonly number[], slots: number, sequences: number): Feed[] {
  const inSlots = new BigInt64Array(counts.length * slots).fill(BigInt(sequences));
  const places = new BigInt64Array(sequences).fill(BigInt(inSlots.length));
  let context = 0;
  for (const [e, n] of counts.entries()) {
    for (let k = 0; k < n; k++, context++) {
      inSlots[e * slots + k] = BigInt(context);
      places[context] = BigInt(e * slots + k);
    }
  }
  return [
    { name: "compose.slots", data: inSlots, shape: [inSlots.length] },
    { name: "compose.places", data: places, shape: [sequences] },
  ];
}

/** c[k, m] for n contexts: the run after context k ends where the order begins anew, at slot k + m + 1. */
function coefficient(method: CompositionMethod, k: number, m: number, n: number, slots: number): number {
  const start = (k + m + 1) % slots;
  if (method === "caso") return start === 0 ? 1 : 0;
  if (method === "soup") return m === 0 && k < n ? 1 / n : 0;
  return start < n ? 1 / n : 0;
}

/** [K, K*K]: 1 where slot j is one of k+1 ... k+m. */
function runMembers(slots: number): Float32Array {
  const members = new Float32Array(slots ** 3);
  for (let k = 0; k < slots; k++) {
    for (let m = 0; m < slots; m++) {
      for (let i = 1; i <= m; i++) members[((k + i) % slots) * slots * slots + k * slots + m] = 1;
    }
  }
  return members;
}
