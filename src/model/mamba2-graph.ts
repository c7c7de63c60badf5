/**
 * The ONNX graph of a Mamba-2 model: one graph for prefill from any state, decoding, batches and scoring.
 *
 * Letters: B batch, T tokens, M scored positions, S losses, L layers, H heads, N state size, P head dimension, W convolution width
 * kept, C convolution channels.
 *
 * Inputs: `tokens` [B, T] right-padded, `lengths` [B], `past_ssm.i` [B, H, N, P] of each layer, `past_conv` [B, L*W, C],
 * `rows` [M] (which of the B*T positions get logits), `targets` [S] (the token that each row is scored on; S = M, or 0
 * where no losses are wanted).
 * Outputs: `logits` [M, vocabulary], `losses` [S] (-log p of the target), `present_ssm.i`, `present_conv`, `log_decay`
 * [B, L*H].
 */
import { GraphBuilder, type Value } from "../onnx/graph.js";
import type { Mamba2Config } from "./config.js";
import type { Device } from "./device.js";
import { StoredWeights, type WeightFill } from "./graph-weights.js";
import { mamba2 } from "./mamba2.js";
import { OnnxOperations } from "./onnx-operations.js";
import type { WeightDtype } from "./quantize.js";

/** Changes whenever graphs or weight files written by earlier versions must not be used again. */
export const GRAPH_VERSION = 10;

export const WEIGHTS_FILE = "weights.bin";

export interface Mamba2Graph {
  model: Uint8Array;
  fills: WeightFill[];
  /** Size of the weights file. */
  weightBytes: number;
}

/** The graph with matrices of type `dtype` for the engine of `device`; the weights file is the same for all devices. */
export function buildMamba2Graph(config: Mamba2Config, dtype: WeightDtype, device: Device): Mamba2Graph {
  const graph = new GraphBuilder("mamba2", WEIGHTS_FILE);
  const { layers, heads, stateSize, headDim, convDim, vocabSize } = config;
  const width = config.convKernel - 1;

  const tokens = graph.input("tokens", "i64", ["B", "T"]);
  const lengths = graph.input("lengths", "i64", ["B"]);
  const rows = graph.input("rows", "i64", ["M"]);
  const targets = graph.input("targets", "i64", ["S"]);
  const pastConv = graph.input("past_conv", "f32", ["B", layers * width, convDim]);
  const past = cutLayers(graph, pastConv, layers, width, device).map((conv, i) => ({
    ssm: graph.input(`past_ssm.${i}`, "f32", ["B", heads, stateSize, headDim]),
    conv,
  }));

  const weights = new StoredWeights(graph, config, dtype, device);
  const ops = new OnnxOperations(graph, weights, config, device, tokens, lengths);
  const { hidden, present, logDecay } = mamba2<Value>(ops, config, tokens, past);

  const flat = graph.node("Reshape", [hidden, graph.constant("i64", [-1, config.hiddenSize])]);
  const scored = graph.node("Gather", [flat, rows], { attributes: { axis: 0 } });
  const head = config.tiedEmbeddings ? "backbone.embeddings.weight" : "lm_head.weight";
  const logits = weights.product(scored, head, null);
  graph.output("logits", device === "cpu" ? logits : unscored(graph, logits, rows, targets), "f32", ["M", vocabSize]);
  graph.output("losses", lossesOf(graph, logits, targets, device), "f32", ["S"]);
  for (const [i, { ssm }] of present.entries()) {
    graph.output(`present_ssm.${i}`, ssm, "f32", ["B", heads, stateSize, headDim]);
  }
  const tails = present.map(({ conv }) => conv);
  graph.output("present_conv", ops.presentConv(pastConv, tails), "f32", ["B", layers * width, convDim]);
  graph.output("log_decay", ops.totals(logDecay), "f32", ["B", layers * heads]);
  return { model: graph.toBytes(), fills: weights.fills, weightBytes: graph.externalBytes };
}

/**
 * The logits where there are no targets, none where there are: every run on another device must fetch the same outputs,
 * and logits are large to bring to the CPU.
 */
function unscored(graph: GraphBuilder, logits: Value, rows: Value, targets: Value): Value {
  const [zero, one] = [graph.constant("i64", [0]), graph.constant("i64", [1])];
  const count = graph.node("Sub", [graph.node("Size", [rows]), graph.node("Size", [targets])]);
  return graph.node("Slice", [logits, zero, graph.node("Reshape", [count, one]), zero]);
}

/** `width` rows for each layer of [B, L*W, C]. */
function cutLayers(graph: GraphBuilder, all: Value, layers: number, width: number, device: Device): Value[] {
  if (device === "cpu") {
    const widths = graph.constant("i64", new Array<number>(layers).fill(width));
    return graph.nodes("Split", [all, widths], layers, { attributes: { axis: 1 } });
  }
  // A shader takes a few buffers only, so that no operator can have an output for each layer.
  const axis = graph.constant("i64", [1]);
  return Array.from({ length: layers }, (_, i) => {
    const [start, end] = [i * width, (i + 1) * width].map((place) => graph.constant("i64", [place])) as [Value, Value];
    return graph.node("Slice", [all, start, end, axis]);
  });
}

/** Of each row with a target, its -log softmax(logits)[target]; computed only where there are targets. */
function lossesOf(graph: GraphBuilder, logits: Value, targets: Value, device: Device): Value {
  const isScored = graph.node("Greater", [graph.node("Size", [targets]), graph.constant("i64", [0], [])]);
  const axis = graph.constant("i64", [1]);
  const crossEntropy = () => {
    const column = graph.node("Unsqueeze", [targets, axis]);
    const pick = (rows: Value) => graph.node("GatherElements", [rows, column], { attributes: { axis: 1 } });
    // ReduceLogSumExp takes several times as long on the CPU; WebGPU has no LogSoftmax.
    const losses =
      device === "cpu"
        ? graph.node("Neg", [pick(graph.node("LogSoftmax", [logits], { attributes: { axis: 1 } }))])
        : graph.node("Sub", [
            graph.node("ReduceLogSumExp", [logits, axis], { attributes: { keepdims: 1 } }),
            pick(logits),
          ]);
    return graph.node("Squeeze", [losses, axis]);
  };
  return graph.choose(isScored, crossEntropy, () => graph.node("Cast", [targets], { attributes: { to: 1 } }));
}
