/**
 * One layer of a training step as two graphs, forward and backward, the same for every layer of a model: contexts run
 * from the zero state, their states are composed, queries run from the composed states. The backward graph computes
 * what it needs of the forward pass again, so that only residuals are kept in between.
 */
import type { CompositionMethod } from "../../compose/weights.js";
import type { Mamba2Config } from "../../model/config.js";
import { type LayerState, mamba2Layer } from "../../model/mamba2.js";
import { parameterShapes } from "../../model/parameters.js";
import { Tape, type TapeOutput, type Tensor } from "../../onnx/tape.js";
import { composeStates } from "./composition.js";
import { DifferentiableOperations, type Parameters } from "./operations.js";
import { type Side, sequenceInputs, sizes } from "./sequences.js";

/**
 * - `bptc`, backpropagation through composition: gradients reach the contexts' own runs through the composed states
 * - `bp2c`, backpropagation to composition: the composed states count as constants
 */
export type GradientMode = "bptc" | "bp2c";

/** What graphs differ by. */
export interface LayerVariant {
  method: CompositionMethod;
  mode: GradientMode;
  /** Whether the sequences are single chunks or more; `none` where the batch has no contexts. */
  contexts: "none" | "one" | "many";
  queries: "one" | "many";
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
  outputs: string[];
  parts: ParameterPart[];
}

const layer = "layer";

/** `{side}.residual` [B, T, D] -> `{side}.next`; with `bp2c` also `past.ssm` and `past.conv`, for the backward graph. */
export function forwardGraph(config: Mamba2Config, variant: LayerVariant): LayerGraph {
  const tape = new Tape();
  const parameters = new LayerParameters(tape, config);
  const { context, query, past } = runLayer(tape, config, variant, parameters.get, null);
  const outputs = [{ name: "query.next", tensor: query.next }];
  if (context) outputs.push({ name: "context.next", tensor: context.next });
  if (context && variant.mode === "bp2c") outputs.push(...Object.entries(past).map(pastOutput));
  return finish(tape, "layer-forward", outputs, parameters);
}

/**
 * The forward graph's inputs and `{side}.cotangent`, the gradient of `{side}.next` -> `{side}.gradient`, that of
 * `{side}.residual`, and `gradient.{part}` for every parameter. With `bp2c` there is a side `query` only, and the
 * inputs `past.ssm` and `past.conv`.
 */
export function backwardGraph(config: Mamba2Config, variant: LayerVariant): LayerGraph {
  const tape = new Tape();
  const parameters = new LayerParameters(tape, config);
  const isFixed = variant.mode === "bp2c" && variant.contexts !== "none";
  const past = isFixed ? pastInputs(tape, config) : null;
  const { context, query } = runLayer(tape, config, variant, parameters.get, past);
  const sides = context ? { query, context } : { query };
  const ends = Object.entries(sides).map(([side, { next }]) => ({
    tensor: next,
    cotangent: tape.input(`${side}.cotangent`, next.shape),
  }));
  const starts = Object.values(sides).map(({ residual }) => residual);
  const gradients = tape.gradients(ends, [...starts, ...parameters.tensors()]);
  const names = [
    ...Object.keys(sides).map((side) => `${side}.gradient`),
    ...parameters.parts.map(({ input }) => `gradient.${input}`),
  ];
  const outputs = names.map((name, i) => ({ name, tensor: gradients[i]! }));
  return finish(tape, "layer-backward", outputs, parameters);
}

/** Runs the contexts only where no `fixed` past is given. */
function runLayer(
  tape: Tape,
  config: Mamba2Config,
  { method, contexts, queries }: LayerVariant,
  parameters: Parameters,
  fixed: LayerState<Tensor> | null,
) {
  const run = (side: Side, isOne: boolean, past: LayerState<Tensor>) => {
    const { B, T } = sizes(side);
    const residual = tape.input(`${side}.residual`, [B, T, config.hiddenSize]);
    const ops = new DifferentiableOperations(config, parameters, sequenceInputs(tape, side, isOne, config));
    const { residual: next, present, logDecay } = mamba2Layer(ops, config, layer, residual, past);
    return { residual, next, states: { ...present, logDecay } };
  };
  const context =
    fixed || contexts === "none"
      ? null
      : run("context", contexts === "one", zeroState(tape, config, sizes("context").B));
  const zero = () => zeroState(tape, config, sizes("query").B);
  const past = fixed ?? (context ? composeStates(tape, context.states, method, config) : zero());
  return { context, query: run("query", queries === "one", past), past };
}

function stateShapes({ groups, stateSize, innerSize, convKernel, convDim }: Mamba2Config, B: string) {
  return { ssm: [B, groups, stateSize, innerSize / groups], conv: [B, convKernel - 1, convDim] };
}

function zeroState(tape: Tape, config: Mamba2Config, B: string): LayerState<Tensor> {
  const { ssm, conv } = stateShapes(config, B);
  return { ssm: tape.zeros(ssm), conv: tape.zeros(conv) };
}

function pastInputs(tape: Tape, config: Mamba2Config): LayerState<Tensor> {
  const { ssm, conv } = stateShapes(config, sizes("query").B);
  return { ssm: tape.input("past.ssm", ssm), conv: tape.input("past.conv", conv) };
}

function pastOutput([part, tensor]: [string, Tensor]): TapeOutput {
  return { name: `past.${part}`, tensor };
}

function finish(tape: Tape, name: string, outputs: TapeOutput[], parameters: LayerParameters): LayerGraph {
  const { model, inputs } = tape.emit(name, outputs);
  return { model, inputs, outputs: outputs.map((output) => output.name), parts: parameters.parts };
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

  tensors(): Tensor[] {
    return [...this.inputs.values()];
  }
}
