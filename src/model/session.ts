/**
 * The compiled graph as a function on typed arrays: one run of B padded sequences from B states. Knows ONNX Runtime,
 * nothing of texts or files.
 *
 * Letters: B batch, T tokens, M scored positions, L layers, H heads, N state size, P head dimension, W convolution
 * width kept, C convolution channels.
 */
import * as ort from "onnxruntime-node";
import { engineError } from "../errors.js";
import { type StateShape, stateSizes } from "../state/context-state.js";
import type { Device } from "./device.js";
import { SpareMemory } from "./spare-memory.js";
import { DeviceStates } from "./webgpu/device-states.js";
import { assertWebGpu } from "./webgpu/engine.js";
import { StateReader } from "./webgpu/read-states.js";
import { StateSum, type WeightedState } from "./webgpu/sum-states.js";

/** What to do when the engine refuses. */
const tooLarge = "Run `picaso doctor`; if memory ran out, use a smaller model or shorter inputs.";

export interface SessionOptions {
  device: Device;
  threads: number;
}

/** States of a batch: ssm [B, H, N, P] of each layer, and conv [B, L, W, C]. */
export interface BatchState {
  ssm: Float32Array[];
  conv: Float32Array;
}

export interface RunInputs {
  /** [B, T], right-padded with any valid id. */
  tokens: BigInt64Array;
  /** [B], how many of each T are tokens. */
  lengths: BigInt64Array;
  past: BatchState | DeviceStates;
  /**
   * Filled by the run on the CPU; absent where the states behind the tokens are not wanted. May be `past` itself: every
   * operator copies what it needs of a state before it writes one. On another device states stay there: see
   * {@link RunOutputs}.
   */
  present?: BatchState;
  /** [M] positions in [0, B x T) to score. */
  rows: BigInt64Array;
  /** [M] tokens whose loss is wanted; absent when the logits are. */
  targets?: BigInt64Array;
}

export interface RunOutputs {
  /** [M, vocabulary], where no targets were given. */
  logits: Float32Array;
  /** [M], -log p(target), where targets were given. */
  losses: Float32Array;
  /** [B, L, H] */
  logDecay: Float32Array;
  /** The states after the run, where they stay on the device. The caller disposes of them. */
  kept?: DeviceStates;
}

export class ModelSession {
  private reader: Promise<StateReader> | undefined;
  private adder: Promise<StateSum> | undefined;
  readonly spare = new SpareMemory();

  private constructor(
    private readonly session: ort.InferenceSession,
    private readonly shape: StateShape,
    /** Whether states stay on the device between runs. */
    readonly keepsStates: boolean,
  ) {}

  /** Throws `unsupported` where the machine has no such device. */
  static async create(modelPath: string, shape: StateShape, options: SessionOptions): Promise<ModelSession> {
    const keepsStates = options.device !== "cpu";
    if (keepsStates) await assertWebGpu();
    const states = [...Array.from({ length: shape.layers }, (_, i) => `present_ssm.${i}`), "present_conv"];
    try {
      const session = await ort.InferenceSession.create(modelPath, {
        executionProviders: [options.device],
        intraOpNumThreads: options.threads,
        graphOptimizationLevel: "all",
        logSeverityLevel: 3,
        // Threads wait actively between the operators of a run only: by default they take a core for milliseconds.
        extra: { session: { intra_op: { spin_duration_us: "50" } } },
        ...(keepsStates && {
          preferredOutputLocation: Object.fromEntries(states.map((name) => [name, "gpu-buffer"] as const)),
        }),
      });
      return new ModelSession(session, shape, keepsStates);
    } catch (cause) {
      throw engineError(modelPath, cause, tooLarge);
    }
  }

  async run(inputs: RunInputs): Promise<RunOutputs> {
    const { shape } = this;
    const batch = inputs.lengths.length;
    const steps = inputs.tokens.length / batch;
    const targets = inputs.targets ?? new BigInt64Array(0);
    const feeds: Record<string, ort.Tensor> = {
      tokens: new ort.Tensor("int64", inputs.tokens, [batch, steps]),
      lengths: new ort.Tensor("int64", inputs.lengths, [batch]),
      rows: new ort.Tensor("int64", inputs.rows, [inputs.rows.length]),
      targets: new ort.Tensor("int64", targets, [targets.length]),
    };
    const { past, present } = inputs;
    const isHere = !(past instanceof DeviceStates);
    const fetches: Record<string, ort.Tensor | null> = {
      // Where states stay, outputs once fetched are bound to the session: every run fetches the same ones.
      ...(this.keepsStates ? { logits: null, losses: null } : { [inputs.targets ? "losses" : "logits"]: null }),
      log_decay: null,
    };
    if (present) fetches.present_conv = this.convTensor(present.conv, batch);
    else if (this.keepsStates) fetches.present_conv = null;
    feeds.past_conv = isHere ? this.convTensor(past.conv, batch) : past.conv;
    for (let layer = 0; layer < shape.layers; layer++) {
      feeds[`past_ssm.${layer}`] = isHere ? this.ssmTensor(past.ssm[layer]!, batch) : past.ssm[layer]!;
      if (present) fetches[`present_ssm.${layer}`] = this.ssmTensor(present.ssm[layer]!, batch);
      else if (this.keepsStates) fetches[`present_ssm.${layer}`] = null;
    }
    const results = await this.session.run(feeds, fetches).catch((cause) => {
      throw engineError(`a run of ${batch} x ${steps} tokens`, cause, tooLarge);
    });
    const floats = (name: string) => (results[name]?.data ?? new Float32Array(0)) as Float32Array;
    return {
      logits: floats("logits"),
      losses: floats("losses"),
      logDecay: floats("log_decay"),
      ...(this.keepsStates && { kept: this.keptStates(results) }),
    };
  }

  /** Copies states of the device into arrays of the same sizes. */
  async read(states: DeviceStates, into: BatchState): Promise<void> {
    this.reader ??= StateReader.create(this.shape);
    await (await this.reader).read(states, into);
  }

  /** A sum of states on the device, beside a convolution state [L, W, C] that is known. */
  async sum(states: Iterable<WeightedState>, conv: Float32Array): Promise<DeviceStates> {
    this.adder ??= StateSum.create(this.shape);
    return new DeviceStates(await (await this.adder).run(states), this.convTensor(conv, 1));
  }

  async dispose(): Promise<void> {
    await this.session.release();
    await (await this.reader)?.dispose();
    await (await this.adder)?.dispose();
  }

  private keptStates(results: ort.InferenceSession.OnnxValueMapType): DeviceStates {
    const ssm = Array.from({ length: this.shape.layers }, (_, layer) => results[`present_ssm.${layer}`] as ort.Tensor);
    return new DeviceStates(ssm, results.present_conv as ort.Tensor);
  }

  private ssmTensor(data: Float32Array, batch: number): ort.Tensor {
    const { heads, stateSize, headDim } = this.shape;
    return new ort.Tensor("float32", data, [batch, heads, stateSize, headDim]);
  }

  private convTensor(data: Float32Array, batch: number): ort.Tensor {
    const { layers, convWidth, convDim } = this.shape;
    return new ort.Tensor("float32", data, [batch, layers * convWidth, convDim]);
  }
}

/** A batch's states whose layers are views of one array: for B = 1 that is the layout of a single state. */
export interface PackedBatchState extends BatchState {
  ssmAll: Float32Array;
}

/** Room for the states of a batch, zeroed; or in the first values of `memory`, as they are. */
export function batchState(shape: StateShape, batch: number, memory?: Float32Array): PackedBatchState {
  const { ssm, conv } = stateSizes(shape);
  const ssmAll = memory?.subarray(0, batch * ssm) ?? new Float32Array(batch * ssm);
  const convAll = memory?.subarray(batch * ssm, batch * (ssm + conv)) ?? new Float32Array(batch * conv);
  return { ssmAll, ssm: cut(ssmAll, shape.layers), conv: convAll };
}

/** `parts` equal consecutive views of an array. */
export function cut(array: Float32Array, parts: number): Float32Array[] {
  const size = array.length / parts;
  return Array.from({ length: parts }, (_, i) => array.subarray(i * size, (i + 1) * size));
}
