/**
 * The operations of a Mamba-2 model as nodes of an ONNX graph. The recurrence is a single operator of ONNX Runtime
 * (`LinearAttention`), which takes and returns its state; so is the convolution (`CausalConvWithState`), except where
 * `Conv` is faster.
 *
 * Letters: B batch, T tokens, H heads, P head dimension, N state size, W convolution width kept, C its channels.
 */
import type { GraphBuilder, Value } from "../onnx/graph.js";
import type { Mamba2Config } from "./config.js";
import type { Device } from "./device.js";
import type { Operations } from "./operations.js";

const contrib = { domain: "com.microsoft" } as const;

/**
 * ONNX Runtime has vectorized depthwise convolutions for these processors, which read channels in blocks of 8 or 16. On
 * others, and for channels that do not fill blocks, its `Conv` would multiply a matrix of one row for every channel.
 */
const hasBlockedConvolution = process.arch === "x64";
const channelsOfBlock = 16;

/** Adds weights of the checkpoint to the graph under their own names, in the stored form the engine wants. */
export interface GraphWeights {
  /** A tensor as it is, f32. */
  tensor(name: string): Value;
  /** `x W^T + b` for a linear weight W. */
  product(x: Value, weight: string, bias: string | null): Value;
  /** Rows of an embedding by id. */
  gather(ids: Value, weight: string): Value;
}

export class OnnxOperations implements Operations<Value> {
  /** 1 at tokens, 0 at padding: [B, T, 1]. */
  private readonly tokenMask: Value;
  /** Where the last W convolution inputs stand, per sequence: see {@link presentConv}. */
  private readonly convTail: { inInput: Value; inPast: Value; isInput: Value };

  /** `tokens` [B, T] right-padded; `lengths` [B] says how many of T are real. */
  constructor(
    private readonly graph: GraphBuilder,
    private readonly weights: GraphWeights,
    private readonly config: Mamba2Config,
    private readonly device: Device,
    tokens: Value,
    lengths: Value,
  ) {
    const tokenCount = graph.node("Shape", [tokens], { attributes: { start: 1, end: 2 } });
    const column = graph.node("Unsqueeze", [lengths, this.integers(1)]);
    this.tokenMask = this.maskTokens(tokenCount, column);
    this.convTail = this.locateConvTail(column);
  }

  embed(tokens: Value, weight: string): Value {
    return this.weights.gather(tokens, weight);
  }

  linear(x: Value, weight: string, bias: string | null, sizes: readonly number[]): Value[] {
    // One product and a cut take prefill as long as a product per part, and decoding less.
    const product = this.weights.product(x, weight, bias);
    return sizes.length === 1 ? [product] : this.split(product, sizes);
  }

  rmsNorm(x: Value, weight: string, epsilon: number): Value {
    return this.graph.node("SimplifiedLayerNormalization", [x, this.weights.tensor(weight)], {
      attributes: { axis: -1 },
      floats: { epsilon },
    });
  }

  gatedNorm(x: Value, gate: Value, weight: string, epsilon: number, groups: number): Value {
    const gated = this.graph.node("Mul", [x, this.silu(gate)]);
    if (groups === 1) return this.rmsNorm(gated, weight, epsilon);
    const { innerSize } = this.config;
    const size = innerSize / groups;
    const parts = this.graph.node("Reshape", [gated, this.integers(0, 0, groups, size)]);
    const ones = this.graph.constant("f32", new Array<number>(size).fill(1));
    const normed = this.graph.node("SimplifiedLayerNormalization", [parts, ones], {
      attributes: { axis: -1 },
      floats: { epsilon },
    });
    const joined = this.graph.node("Reshape", [normed, this.integers(0, 0, innerSize)]);
    return this.graph.node("Mul", [joined, this.weights.tensor(weight)]);
  }

  add(a: Value, b: Value): Value {
    return this.graph.node("Add", [a, b]);
  }

  split(x: Value, sizes: readonly number[]): Value[] {
    return this.graph.nodes("Split", [x, this.integers(...sizes)], sizes.length, { attributes: { axis: -1 } });
  }

  causalConv(x: Value, past: Value, weight: string, bias: string | null): { output: Value; present: Value } {
    const isBlocked = this.device === "cpu" && hasBlockedConvolution && this.config.convDim % channelsOfBlock === 0;
    const parameters = [this.weights.tensor(weight), bias === null ? null : this.weights.tensor(bias)] as const;
    const convolved = isBlocked ? this.blockedConv(x, past, ...parameters) : this.stateConv(x, past, ...parameters);
    // `CausalConvWithState` has a silu of its own, which takes 1.4 times as long on the CPU as the two apart.
    const output = this.silu(convolved);
    return { output, present: this.pick(x, this.convTail.inInput) };
  }

  /**
   * The convolution states of all layers, [B, L*W, C]: `tails` are what {@link causalConv} gave as `present`, which is
   * right but where a sequence was shorter than W and its state still holds some of the `past`. Done for all layers at
   * once, since decoding is short of time for small nodes.
   *
   * `CausalConvWithState` has a present state of its own, which ends at the padding, not at the last token of each sequence.
   */
  presentConv(past: Value, tails: readonly Value[]): Value {
    const { inPast, isInput } = this.convTail;
    const fromInput = this.graph.node("Concat", tails, { attributes: { axis: 1 } });
    return this.graph.node("Where", [isInput, fromInput, this.pick(past, inPast)]);
  }

  /** The sums over tokens of all layers, [B, L*H], of what {@link sumOverTokens} was given. */
  totals(addends: readonly Value[]): Value {
    const all = this.graph.node("Concat", addends, { attributes: { axis: 2 } });
    return this.graph.node("ReduceSum", [all, this.integers(1)], { attributes: { keepdims: 0 } });
  }

  timeStep(raw: Value, bias: string, [low, high]: readonly [number, number]): Value {
    const biased = this.graph.node("Add", [raw, this.weights.tensor(bias)]);
    let dt = this.graph.node("Softplus", [biased]);
    if (low > 0 || high < Number.POSITIVE_INFINITY) {
      const bounds = [low, Math.min(high, 3.4e38)].map((bound) => this.graph.constant("f32", [bound], []));
      dt = this.graph.node("Clip", [dt, ...bounds]);
    }
    return this.graph.node("Mul", [dt, this.tokenMask]);
  }

  logTransition(dt: Value, aLog: string): Value {
    const a = this.graph.node("Neg", [this.graph.node("Exp", [this.weights.tensor(aLog)])]);
    return this.graph.node("Mul", [dt, a]);
  }

  scaleHeads(x: Value, scale: Value): Value {
    const { heads, headDim, innerSize } = this.config;
    const perHead = this.graph.node("Reshape", [x, this.integers(0, 0, heads, headDim)]);
    const scaled = this.graph.node("Mul", [perHead, this.graph.node("Unsqueeze", [scale, this.integers(-1)])]);
    return this.graph.node("Reshape", [scaled, this.integers(0, 0, innerSize)]);
  }

  scaleHeadsBy(x: Value, weight: string): Value {
    const { heads, headDim, innerSize } = this.config;
    const column = this.graph.node("Reshape", [this.weights.tensor(weight), this.integers(heads, 1)]);
    const wide = this.graph.node("Expand", [column, this.integers(heads, headDim)]);
    return this.graph.node("Mul", [x, this.graph.node("Reshape", [wide, this.integers(innerSize)])]);
  }

  scan({ c, b, value, logA, past }: { c: Value; b: Value; value: Value; logA: Value; past: Value }) {
    const { heads, groups } = this.config;
    const [output, present] = this.graph.nodes("LinearAttention", [c, b, value, past, logA], 2, {
      ...contrib,
      attributes: { update_rule: "gated", q_num_heads: groups, kv_num_heads: heads },
      floats: { scale: 1 },
    }) as [Value, Value];
    return { output, present };
  }

  /** The addends themselves: {@link totals} sums those of all layers at once. */
  sumOverTokens(x: Value): Value {
    return x;
  }

  private stateConv(x: Value, past: Value, weight: Value, bias: Value | null): Value {
    const attributes = { ndim: 1, channels_last: 1, activation: "none" };
    return this.graph.nodes("CausalConvWithState", [x, weight, bias, past], 2, { ...contrib, attributes })[0]!;
  }

  /** ONNX Runtime makes this one convolution with channels in blocks, twice as fast: bench/convolution.bench.ts. */
  private blockedConv(x: Value, past: Value, weight: Value, bias: Value | null): Value {
    const { graph } = this;
    const { convDim, convKernel } = this.config;
    const image = (value: Value, axis: number) => graph.node("Unsqueeze", [value, this.integers(axis)]);
    const transpose = (value: Value, ...perm: number[]) => graph.node("Transpose", [value], { attributes: { perm } });
    const all = graph.node("Concat", [past, x], { attributes: { axis: 1 } });
    const channelsFirst = transpose(image(all, 2), 0, 3, 1, 2);
    // An input that is left out, but named, would keep the engine from it.
    const inputs = [channelsFirst, image(weight, 3), ...(bias === null ? [] : [bias])];
    const convolved = graph.node("Conv", inputs, {
      attributes: { group: convDim, kernel_shape: [convKernel, 1] },
    });
    return graph.node("Squeeze", [transpose(convolved, 0, 2, 3, 1), this.integers(2)]);
  }

  private pick(data: Value, indices: Value): Value {
    return this.graph.node("GatherND", [data, indices], { attributes: { batch_dims: 1 } });
  }

  /** QuickGelu with alpha = 1, in one pass. */
  private silu(x: Value): Value {
    return this.graph.node("QuickGelu", [x], { ...contrib, floats: { alpha: 1 } });
  }

  private integers(...values: number[]): Value {
    return this.graph.constant("i64", values);
  }

  private maskTokens(tokenCount: Value, lengths: Value): Value {
    const { graph } = this;
    const zero = graph.constant("i64", [0], []);
    const one = graph.constant("i64", [1], []);
    const end = graph.node("Squeeze", [tokenCount]);
    const isToken = graph.node("Less", [graph.node("Range", [zero, end, one]), lengths]);
    const asFloat = graph.node("Cast", [isToken], { attributes: { to: 1 } });
    return graph.node("Unsqueeze", [asFloat, this.integers(2)]);
  }

  /**
   * The last W inputs of a sequence of n tokens stand at n-W ... n-1; where that is negative, at the end of the past.
   * `inInput` is [B, W, 1], of one layer; the others are [B, L*W, 1], of all.
   */
  private locateConvTail(lengths: Value) {
    const { graph } = this;
    const { layers, convKernel } = this.config;
    const width = convKernel - 1;
    const ofEach = (value: (step: number, layer: number) => number, count: number) =>
      Array.from({ length: count * width }, (_, i) => value(i % width, Math.floor(i / width)));
    const places = (count: number) => {
      const offsets = this.integers(...ofEach((step) => step - width, count));
      return graph.node("Unsqueeze", [graph.node("Add", [lengths, offsets]), this.integers(2)]);
    };
    const scalar = (value: number) => graph.constant("i64", [value], []);
    const all = places(layers);
    const inLayer = graph.node("Min", [graph.node("Add", [all, scalar(width)]), scalar(width - 1)]);
    const layerStarts = graph.constant(
      "i64",
      ofEach((_, layer) => layer * width, layers),
      [layers * width, 1],
    );
    return {
      inInput: graph.node("Max", [places(1), scalar(0)]),
      inPast: graph.node("Add", [inLayer, layerStarts]),
      isInput: graph.node("GreaterOrEqual", [all, scalar(0)]),
    };
  }
}
