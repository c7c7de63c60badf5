/**
 * One layer of a training step as two graphs, forward and backward, the same for every layer of a model: contexts run
 * from the zero state, their states are composed, queries run from the composed states. Between them residuals are
 * kept, and the results of linear layers, which take longest; the backward graph computes the rest again.
 */
import type { CompositionMethod } from "../../compose/weights.js";
import type { Mamba2Config } from "../../model/config.js";
import { type LayerState, mamba2Layer } from "../../model/mamba2.js";
import { parameterShapes } from "../../model/parameters.js";
import { Tape, type Tensor } from "../../onnx/tape.js";
import { stopGradient } from "../../onnx/tensor-ops.js";
import type { GradientMode } from "../gradient-engine.js";
import { composeStates } from "./composition.js";
import { DifferentiableOperations, type Parameters } from "./operations.js";
import { ParameterInputs, type ParameterPart } from "./parameter-inputs.js";
import { type Side, sequenceInputs, sizes } from "./sequences.js";

/** What a batch's graphs depend on. */
export interface BatchKind {
  /** Whether the sequences are single chunks or more; `none` where the batch has no contexts. */
  contexts: "none" | "one" | "many";
  queries: "one" | "many";
}

/** What graphs differ by. */
export interface LayerVariant extends BatchKind {
  method: CompositionMethod;
  mode: GradientMode;
  /** Nothing reads what the contexts give from the last layer but their states. */
  isLast: boolean;
}

export interface LayerGraph {
  model: Uint8Array;
  inputs: string[];
}

export interface LayerGraphs {
  forward: LayerGraph;
  backward: LayerGraph;
  parts: ParameterPart[];
}

/**
 * Forward: `{side}.residual` [B, T, D] -> `{side}.next`, and what backward is to be given, `kept.{i}`.
 *
 * Backward: the same inputs, `kept.{i}` and `{side}.cotangent`, the gradient of `{side}.next` -> `{side}.gradient`, that
 * of `{side}.residual`, and `gradient.{part}` for the wanted parameters, named as {@link ParameterPart} names them. With
 * `bp2c` it has the side `query` only. Parameters have the names that they have in a layer, after `backbone.layers.{i}.`.
 */
export function layerGraphs(config: Mamba2Config, variant: LayerVariant, wanted: ReadonlySet<string>): LayerGraphs {
  const tape = new Tape();
  const first = "backbone.layers.0.";
  const shapes = [...parameterShapes(config)]
    .filter(([name]) => name.startsWith(first))
    .map(([name, shape]) => [name.slice(first.length), shape] as const);
  const parameters = new ParameterInputs(tape, new Map(shapes));
  const own = (name: string) => name.slice("layer.".length);
  const get: Parameters = (name, rows) => parameters.get(own(name), rows);
  const sides = sidesOf(variant).map((side) => ({ side, residual: residualInput(tape, side, config) }));
  const run = runLayer(tape, config, variant, "layer", get, sides);
  const kept = run.kept.map((tensor, i) => ({ name: `kept.${i}`, tensor }));

  const ends = run.next.filter(({ side }) => side === "query" || !variant.isLast);
  const starts = sides.filter(({ side }) => side === "query" || variant.mode === "bptc");
  const trained = parameters.among(wanted);
  const gradients = tape.gradients(
    ends
      .filter(({ side }) => starts.some((start) => start.side === side))
      .map(({ side, residual }) => ({
        tensor: residual,
        cotangent: tape.input(`${side}.cotangent`, residual.shape),
      })),
    [...starts.map(({ residual }) => residual), ...trained.map(({ tensor }) => tensor)],
  );
  const names = [
    ...starts.map(({ side }) => `${side}.gradient`),
    ...trained.map(({ part }) => `gradient.${part.input}`),
  ];
  const backward = tape.emit(
    "layer-backward",
    names.map((name, i) => ({ name, tensor: gradients[i]! })),
    kept,
  );
  const forward = tape.emit("layer-forward", [
    ...ends.map(({ side, residual }) => ({ name: `${side}.next`, tensor: residual })),
    ...kept.filter(({ name }) => backward.inputs.includes(name)),
  ]);
  return { forward, backward, parts: parameters.parts };
}

/** The sides of a batch of this kind. */
export function sidesOf({ contexts }: BatchKind): Side[] {
  return contexts === "none" ? ["query"] : ["query", "context"];
}

/** What a side's embeddings, or the layer before, have given. */
export interface SideResidual {
  side: Side;
  /** [B, T, D] */
  residual: Tensor;
}

export function residualInput(tape: Tape, side: Side, { hiddenSize }: Mamba2Config): Tensor {
  const { B, T } = sizes(side);
  return tape.input(`${side}.residual`, [B, T, hiddenSize]);
}

/**
 * Records a layer whose parameters' names begin with `name`: the residuals after it, and what takes longest to compute
 * again.
 */
export function runLayer(
  tape: Tape,
  config: Mamba2Config,
  { method, mode, contexts, queries }: Omit<LayerVariant, "isLast">,
  name: string,
  parameters: Parameters,
  sides: readonly SideResidual[],
): { next: SideResidual[]; kept: Tensor[] } {
  const kept: Tensor[] = [];
  const run = (side: Side, isOne: boolean, past: LayerState<Tensor>) => {
    const { residual } = sides.find((own) => own.side === side)!;
    const ops = new DifferentiableOperations(config, parameters, sequenceInputs(tape, side, isOne, config));
    const { residual: next, present, logDecay } = mamba2Layer(ops, config, name, residual, past);
    kept.push(...ops.products);
    return { next: { side, residual: next }, states: { ...present, logDecay } };
  };
  if (contexts === "none") {
    const { next } = run("query", queries === "one", zeroState(tape, config, sizes("query").B));
    return { next: [next], kept };
  }
  const context = run("context", contexts === "one", zeroState(tape, config, sizes("context").B));
  let past = composeStates(tape, context.states, method, config);
  if (mode === "bp2c") {
    past = { ssm: stopGradient(past.ssm), conv: stopGradient(past.conv) };
    kept.push(past.ssm, past.conv);
  }
  const query = run("query", queries === "one", past);
  return { next: [query.next, context.next], kept };
}

function zeroState(tape: Tape, config: Mamba2Config, B: string): LayerState<Tensor> {
  const { groups, stateSize, innerSize, convKernel, convDim } = config;
  return {
    ssm: tape.zeros([B, groups, stateSize, innerSize / groups]),
    conv: tape.zeros([B, convKernel - 1, convDim]),
  };
}
