/**
 * The ONNX graph of a Mamba-2 model: one graph for prefill from any state, decoding, batches and scoring.
 *
 * Inputs: `tokens` [B, T] right-padded, `lengths` [B], `past_ssm.i` [B, H, N, P], `past_conv.i` [B, W, C],
 * `rows` [M] (which of the B*T positions get logits), `targets` [M] (the token that each row is scored on).
 * Outputs: `logits` [M, vocabulary], `losses` [M] (-log p of the target), `present_ssm.i`, `present_conv.i`,
 * `log_decay.i` [B, H].
 */
import { GraphBuilder, type Value } from "../onnx/graph.js";
import type { Mamba2Config } from "./config.js";
import { StoredWeights, type WeightFill } from "./graph-weights.js";
import { mamba2 } from "./mamba2.js";
import { OnnxOperations } from "./onnx-operations.js";
import type { WeightDtype } from "./quantize.js";

/** Changes whenever graphs or weight files written by earlier versions must not be used again. */
export const GRAPH_VERSION = 2;

export const WEIGHTS_FILE = "weights.bin";

export interface Mamba2Graph {
  model: Uint8Array;
  fills: WeightFill[];
  /** Size of the weights file. */
  weightBytes: number;
}

/** The graph with matrices of type `dtype`. */
export function buildMamba2Graph(config: Mamba2Config, dtype: WeightDtype): Mamba2Graph {
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

  const weights = new StoredWeights(graph, config, dtype);
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
  return { model: graph.toBytes(), fills: weights.fills, weightBytes: graph.externalBytes };
}

/** logsumexp(logits) - logits[target], row by row. */
function crossEntropy(graph: GraphBuilder, logits: Value, targets: Value): Value {
  const axis = graph.constant("i64", [1]);
  const column = graph.node("Unsqueeze", [targets, axis]);
  const total = graph.node("ReduceLogSumExp", [logits, axis], { attributes: { keepdims: 1 } });
  const picked = graph.node("GatherElements", [logits, column], { attributes: { axis: 1 } });
  return graph.node("Squeeze", [graph.node("Sub", [total, picked]), axis]);
}
