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

/** A parameter of a layer, or some rows of one, that a graph takes as an input. */
export interface ParameterPart {
  /** Name of the input. */
  input: string;
  /** Name after `backbone.layers.{i}.` */
  parameter: string;
  /** Elements `[from, to)` of it. */
  from: number;
  to: number;
  shape: number[];
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

const layer = "layer";

/**
 * Forward: `{side}.residual` [B, T, D] -> `{side}.next`, and what backward is to be given, `kept.{i}`.
 *
 * Backward: the same inputs, `kept.{i}` and `{side}.cotangent`, the gradient of `{side}.next` -> `{side}.gradient`, that
 * of `{side}.residual`, and `gradient.{part}` for the wanted parameters, named as {@link ParameterPart} names them. With
 * `bp2c` it has the side `query` only.
 */
export function layerGraphs(config: Mamba2Config, variant: LayerVariant, wanted: ReadonlySet<string>): LayerGraphs {
  const tape = new Tape();
  const parameters = new LayerParameters(tape, config);
  const run = runLayer(tape, config, variant, parameters.get);
  const kept = run.kept.map((tensor, i) => ({ name: `kept.${i}`, tensor }));

  const ends = run.sides.filter(({ side }) => side === "query" || !variant.isLast);
  const starts = run.sides.filter(({ side }) => side === "query" || variant.mode === "bptc");
  const trained = parameters.parts.filter(({ parameter }) => wanted.has(parameter));
  const gradients = tape.gradients(
    ends
      .filter((end) => starts.includes(end))
      .map(({ side, next }) => ({ tensor: next, cotangent: tape.input(`${side}.cotangent`, next.shape) })),
    [...starts.map(({ residual }) => residual), ...trained.map(({ input }) => parameters.tensor(input))],
  );
  const names = [...starts.map(({ side }) => `${side}.gradient`), ...trained.map(({ input }) => `gradient.${input}`)];
  const backward = tape.emit(
    "layer-backward",
    names.map((name, i) => ({ name, tensor: gradients[i]! })),
    kept,
  );
  const forward = tape.emit("layer-forward", [
    ...ends.map(({ side, next }) => ({ name: `${side}.next`, tensor: next })),
    ...kept.filter(({ name }) => backward.inputs.includes(name)),
  ]);
  return { forward, backward, parts: parameters.parts };
}

function runLayer(
  tape: Tape,
  config: Mamba2Config,
  { method, mode, contexts, queries }: LayerVariant,
  parameters: Parameters,
) {
  const kept: Tensor[] = [];
  const run = (side: Side, isOne: boolean, past: LayerState<Tensor>) => {
    const { B, T } = sizes(side);
    const residual = tape.input(`${side}.residual`, [B, T, config.hiddenSize]);
    const ops = new DifferentiableOperations(config, parameters, sequenceInputs(tape, side, isOne, config));
    const { residual: next, present, logDecay } = mamba2Layer(ops, config, layer, residual, past);
    kept.push(...ops.products);
    return { side, residual, next, states: { ...present, logDecay } };
  };
  if (contexts === "none") {
    return { sides: [run("query", queries === "one", zeroState(tape, config, sizes("query").B))], kept };
  }
  const context = run("context", contexts === "one", zeroState(tape, config, sizes("context").B));
  let past = composeStates(tape, context.states, method, config);
  if (mode === "bp2c") {
    past = { ssm: stopGradient(past.ssm), conv: stopGradient(past.conv) };
    kept.push(past.ssm, past.conv);
  }
  return { sides: [run("query", queries === "one", past), context], kept };
}

function zeroState(tape: Tape, config: Mamba2Config, B: string): LayerState<Tensor> {
  const { groups, stateSize, innerSize, convKernel, convDim } = config;
  return {
    ssm: tape.zeros([B, groups, stateSize, innerSize / groups]),
    conv: tape.zeros([B, convKernel - 1, convDim]),
  };
}

/** The parameters that a graph uses, as inputs. */
class LayerParameters {
  readonly parts: ParameterPart[] = [];
  private readonly inputs = new Map<string, Tensor>();
  private readonly shapes: Map<string, number[]>;

  constructor(
    private readonly tape: Tape,
    config: Mamba2Config,
  ) {
    this.shapes = parameterShapes(config);
  }

  readonly get: Parameters = (name, rows) => {
    const parameter = name.slice(layer.length + 1);
    const [size, ...rest] = this.shapes.get(`backbone.layers.0.${parameter}`)! as [number, ...number[]];
    const [from, to] = rows ?? [0, size];
    const input = `${parameter}[${from}:${to}]`;
    let tensor = this.inputs.get(input);
    if (!tensor) {
      const row = rest.reduce((a, b) => a * b, 1);
      const shape = [to - from, ...rest];
      tensor = this.tape.input(input, shape);
      this.inputs.set(input, tensor);
      this.parts.push({ input, parameter, from: from * row, to: to * row, shape });
    }
    return tensor;
  };

  /** The input of this name. */
  tensor(input: string): Tensor {
    return this.inputs.get(input)!;
  }
}
