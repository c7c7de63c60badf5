/**
 * Where everything stands in the decoder's memory, and the steps of a token. One address space of 4 GiB holds it all:
 * the control block, the weights file as it is, the state of one sequence, and what the steps pass on to each other.
 */
import { stateSizes } from "../../state/context-state.js";
import { type Mamba2Config, stateShape } from "../config.js";
import { mamba2 } from "../mamba2.js";
import { buildMamba2Graph } from "../mamba2-graph.js";
import type { WeightDtype } from "../quantize.js";
import { StepRecorder, type Value } from "./recorder.js";
import { STEP_BYTES, type Step } from "./steps.js";

/** Addresses of the control block; see decode.as.ts. */
export const GENERATION = 0;
export const TOKEN = 4;
export const STOP = 8;
export const FAILED = 64;
export const HELPED = 192;
const CONTROL_BYTES = 256;

/** Memories with 32-bit addresses end here. */
export const MOST_BYTES = 2 ** 32;

interface Place {
  address: number;
  /** Numbers in float32. */
  length: number;
}

export interface DecodePlan {
  steps: Step[];
  /** Address of the first step. */
  stepsAt: number;
  weights: { address: number; bytes: number };
  /** [L, H, N, P] and [L, W, C], as in a state. */
  ssm: Place;
  conv: Place;
  /** [vocabulary] */
  logits: Place;
  /** [L, H], of the last token. */
  logDecay: Place;
  /** Of memory in all. */
  bytes: number;
}

/** The plan for a model whose weights file is that of its graph. */
export function planDecoding(config: Mamba2Config, dtype: WeightDtype): DecodePlan {
  const { fills, weightBytes } = buildMamba2Graph(config, dtype, "cpu");
  const weights = { address: CONTROL_BYTES, bytes: weightBytes };
  let bytes = CONTROL_BYTES + weightBytes;
  const allocate = (size: number) => {
    const address = Math.ceil(bytes / 64) * 64;
    bytes = address + size;
    return address;
  };
  const recorder = new StepRecorder(config, fills, weights.address, allocate);
  const sizes = stateSizes(stateShape(config));
  const ssm = recorder.vector(sizes.ssm);
  const conv = recorder.vector(sizes.conv);
  const { layers } = config;
  const each = (length: number) => new Array<number>(layers).fill(length / layers);
  const convs = recorder.split(conv, each(conv.length));
  const past = recorder.split(ssm, each(ssm.length)).map((state, i) => ({ ssm: state, conv: convs[i]! }));
  const { hidden } = mamba2<Value>(recorder, config, { kind: "token" }, past);
  const logits = recorder.vector(config.vocabSize);
  recorder.product(hidden, config.tiedEmbeddings ? "backbone.embeddings.weight" : "lm_head.weight", null, logits);
  const { steps, logDecay } = recorder;
  const stepsAt = allocate(steps.length * STEP_BYTES);
  return { steps, stepsAt, weights, ssm, conv, logits, logDecay, bytes };
}
