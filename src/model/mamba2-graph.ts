/**
 * The ONNX graph of a Mamba-2 model: one graph for prefill from any state, decoding, batches and scoring.
 *
 * Inputs: `tokens` [B, T] right-padded, `lengths` [B], `past_ssm.i` [B, H, N, P], `past_conv.i` [B, W, C],
 * `rows` [M] (which of the B*T positions get logits), `targets` [M] (the token that each row is scored on).
 * Outputs: `logits` [M, vocabulary], `losses` [M] (-log p of the target), `present_ssm.i`, `present_conv.i`,
 * `log_decay.i` [B, H].
 */
import { type ExternalWeight, GraphBuilder, type Value } from "../onnx/graph.js";
import type { Mamba2Config } from "./config.js";
import { mamba2 } from "./mamba2.js";
import { type GraphWeights, OnnxOperations } from "./onnx-operations.js";
import { parameterShapes } from "./parameters.js";

/** Changes whenever graphs or weight files written by earlier versions must not be used again. */
export const GRAPH_VERSION = 2;

export const WEIGHTS_FILE = "weights.bin";

/** An external weight and the checkpoint values that fill it: elements `[from, to)` of a parameter, in f32. */
export interface WeightFill extends ExternalWeight {
  parameter: string;
  from: number;
  to: number;
}

export interface Mamba2Graph {
  model: Uint8Array;
  fills: WeightFill[];
  /** Size of the weights file. */
  weightBytes: number;
}

export function buildMamba2Graph(config: Mamba2Config): Mamba2Graph {
  const graph = new GraphBuilder("mamba2", WEIGHTS_FILE);
  const { heads, stateSize, headDim, convDim, vocabSize } = config;
  const width = config.convKernel - 1;

  const tokens = graph.input("tokens", "i64", ["B", "T"]);
  const lengths = graph.input("lengths", "i64", ["B"]);
  const rows = graph.input("rows", "i64", ["M"]);
  const targets = graph.input("targets", "i64", ["M"]);
  const past = Array.from({ length: config.layers }, (_, i) => ({
    ssm: graph.input(`past_ssm.${i}`, "f32", ["B", heads, stateSize, headDim]),
    conv: graph.input(`past_conv.${i}`, "f32", ["B", width, convDim]),
  }));

  const weights = new FloatWeights(graph, config);
  const ops = new OnnxOperations(graph, weights, config, tokens, lengths);
  const { hidden, present, logDecay } = mamba2<Value>(ops, config, tokens, past);

  const flat = graph.node("Reshape", [hidden, graph.constant("i64", [-1, config.hiddenSize])]);
  const scored = graph.node("Gather", [flat, rows], { attributes: { axis: 0 } });
  const head = config.tiedEmbeddings ? "backbone.embeddings.weight" : "lm_head.weight";
  const logits = weights.product(scored, head, null, [0, vocabSize]);
  graph.output("logits", logits, "f32", ["M", vocabSize]);
  graph.output("losses", crossEntropy(graph, logits, targets), "f32", ["M"]);
  for (const [i, state] of present.entries()) {
    graph.output(`present_ssm.${i}`, state.ssm, "f32", ["B", heads, stateSize, headDim]);
    graph.output(`present_conv.${i}`, state.conv, "f32", ["B", width, convDim]);
    graph.output(`log_decay.${i}`, logDecay[i]!, "f32", ["B", heads]);
  }
  return { model: graph.toBytes(), fills: weights.fills(), weightBytes: graph.externalBytes };
}

/** logsumexp(logits) - logits[target], row by row. */
function crossEntropy(graph: GraphBuilder, logits: Value, targets: Value): Value {
  const axis = graph.constant("i64", [1]);
  const column = graph.node("Unsqueeze", [targets, axis]);
  const total = graph.node("ReduceLogSumExp", [logits, axis], { attributes: { keepdims: 1 } });
  const picked = graph.node("GatherElements", [logits, column], { attributes: { axis: 1 } });
  return graph.node("Squeeze", [graph.node("Sub", [total, picked]), axis]);
}

/** Weights in float32, each stored once whatever uses it. */
class FloatWeights implements GraphWeights {
  private readonly shapes: Map<string, number[]>;
  private readonly values = new Map<string, Value>();
  private readonly sources = new Map<string, Omit<WeightFill, keyof ExternalWeight>>();

  constructor(
    private readonly graph: GraphBuilder,
    config: Mamba2Config,
  ) {
    this.shapes = parameterShapes(config);
  }

  tensor(name: string): Value {
    return this.slice(name, 0, this.shape(name)[0]!);
  }

  product(x: Value, weight: string, bias: string | null, [from, to]: readonly [number, number]): Value {
    const matrix = this.slice(weight, from, to);
    const product = this.graph.node("FusedMatMul", [x, matrix], {
      domain: "com.microsoft",
      attributes: { transB: 1 },
    });
    return bias === null ? product : this.graph.node("Add", [product, this.slice(bias, from, to)]);
  }

  gather(ids: Value, weight: string): Value {
    return this.graph.node("Gather", [this.tensor(weight), ids], { attributes: { axis: 0 } });
  }

  fills(): WeightFill[] {
    return this.graph.externalWeights.map((weight) => ({ ...weight, ...this.sources.get(weight.name)! }));
  }

  /** Rows `[from, to)` of a parameter along its first axis. */
  private slice(parameter: string, from: number, to: number): Value {
    const [rows, ...rest] = this.shape(parameter) as [number, ...number[]];
    const name = from === 0 && to === rows ? parameter : `${parameter}[${from}:${to}]`;
    let value = this.values.get(name);
    if (!value) {
      const rowSize = rest.reduce((a, b) => a * b, 1);
      value = this.graph.weight(name, "f32", [to - from, ...rest]);
      this.values.set(name, value);
      this.sources.set(name, { parameter, from: from * rowSize, to: to * rowSize });
    }
    return value;
  }

  private shape(name: string): number[] {
    const shape = this.shapes.get(name);
    if (!shape) throw new Error(`mamba2.ts uses ${name}, which parameters.ts does not list`);
    return shape;
  }
}
