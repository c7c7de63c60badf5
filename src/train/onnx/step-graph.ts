/**
 * A whole training step as one graph: contexts and queries through every layer, the losses, and back to every gradient.
 * Nothing leaves the engine in between, and nothing is computed twice; memory grows with layers times tokens.
 *
 * Letters: E examples, T tokens of a query with padding, M scored positions, V vocabulary, D hidden size.
 */
import type { Mamba2Config } from "../../model/config.js";
import { parameterShapes } from "../../model/parameters.js";
import { crossEntropy, pickRows, rmsNorm } from "../../onnx/network-ops.js";
import { Tape, type Tensor } from "../../onnx/tape.js";
import { matMul, reshape } from "../../onnx/tensor-ops.js";
import { type LayerVariant, residualInput, runLayer, type SideResidual, sidesOf } from "./layer-graphs.js";
import { ParameterInputs, type ParameterPart } from "./parameter-inputs.js";
import { sizes } from "./sequences.js";

export interface StepGraph {
  model: Uint8Array;
  inputs: string[];
  /** The parameters among the inputs. */
  parts: ParameterPart[];
}

/**
 * Inputs: `{side}.residual` [B, T, D], the embedded tokens; `rows` [M], the places among the E*T of the queries after
 * which a target comes; `places` [E*T], for each of those its place among the M, or M; `targets` [M, 1]; parameters by
 * {@link ParameterPart}; what composition and sequences are fed.
 *
 * Output `losses` [M, 1]. With `wanted` parameters also the input `weights` [M, 1], by which the losses are multiplied,
 * and of their sum the gradients `gradient.{part}` and `{side}.gradient`, that of `{side}.residual`.
 */
export function stepGraph(
  config: Mamba2Config,
  variant: Omit<LayerVariant, "isLast">,
  wanted: ReadonlySet<string>,
): StepGraph {
  const tape = new Tape();
  const parameters = new ParameterInputs(tape, parameterShapes(config));
  const starts = sidesOf(variant).map((side) => ({ side, residual: residualInput(tape, side, config) }));
  let sides: SideResidual[] = starts;
  for (let index = 0; index < config.layers; index++) {
    sides = runLayer(tape, config, variant, `backbone.layers.${index}`, parameters.get, sides).next;
  }
  const losses = lossesAfter(tape, config, parameters, sides[0]!.residual);
  const outputs = [{ name: "losses", tensor: losses }];
  if (wanted.size > 0) {
    const trained = parameters.among(wanted);
    const reached = starts.filter(({ side }) => side === "query" || variant.mode === "bptc");
    const gradients = tape.gradients(
      [{ tensor: losses, cotangent: tape.input("weights", ["M", 1]) }],
      [...reached.map(({ residual }) => residual), ...trained.map(({ tensor }) => tensor)],
    );
    const names = [...reached.map(({ side }) => side), ...trained.map(({ part }) => `gradient.${part.input}`)];
    outputs.push(
      ...names.map((name, i) => ({ name: i < reached.length ? `${name}.gradient` : name, tensor: gradients[i]! })),
    );
  }
  return { ...tape.emit("step", outputs), parts: parameters.parts };
}

/** The cross-entropy of the scored positions, [M, 1], given the queries' last residual [E, T, D]. */
function lossesAfter(tape: Tape, config: Mamba2Config, parameters: ParameterInputs, residual: Tensor): Tensor {
  const { hiddenSize, epsilon, tiedEmbeddings } = config;
  const { B, T } = sizes("query");
  const flat = reshape(residual, [`${B}*${T}`, hiddenSize]);
  const scored = pickRows(flat, tape.input("rows", ["M"], "i64"), tape.input("places", [`${B}*${T}`], "i64"));
  const normed = rmsNorm(scored, parameters.get("backbone.norm_f.weight"), epsilon);
  const head = parameters.get(tiedEmbeddings ? "backbone.embeddings.weight" : "lm_head.weight");
  return crossEntropy(matMul(normed, head, { transB: true }), tape.input("targets", ["M", 1], "i64"));
}
