/** The parameters that a graph uses, as its inputs: whole, or some rows of one. */
import type { Dimension } from "../../onnx/graph.js";
import type { Tape, Tensor } from "../../onnx/tape.js";
import type { ParameterValues } from "../gradient-engine.js";
import { type Feeds, toTensor } from "./feeds.js";

/** A parameter, or some rows of one, that a graph takes as an input. */
export interface ParameterPart {
  /** Name of the input. */
  input: string;
  /** Name of the parameter. */
  parameter: string;
  /** Elements `[from, to)` of it. */
  from: number;
  to: number;
  shape: number[];
}

export class ParameterInputs {
  readonly parts: ParameterPart[] = [];

  /** `shapes` has the shape of every parameter that the graph may use. */
  constructor(
    private readonly tape: Tape,
    private readonly shapes: ReadonlyMap<string, readonly number[]>,
  ) {}

  /** All of a parameter, or rows `[from, to)` along its first axis. */
  readonly get = (parameter: string, rows?: readonly [number, number]): Tensor => {
    const [size, ...rest] = this.shapes.get(parameter)! as [number, ...number[]];
    const [from, to] = rows ?? [0, size];
    const input = `${parameter}[${from}:${to}]`;
    const shape: Dimension[] = [to - from, ...rest];
    if (!this.parts.some((part) => part.input === input)) {
      const row = rest.reduce((a, b) => a * b, 1);
      this.parts.push({ input, parameter, from: from * row, to: to * row, shape: shape as number[] });
    }
    return this.tape.input(input, shape);
  };

  /** Those of the parts whose gradients are wanted, and their inputs. */
  among(wanted: ReadonlySet<string>): { part: ParameterPart; tensor: Tensor }[] {
    return this.parts
      .filter(({ parameter }) => wanted.has(parameter))
      .map((part) => ({ part, tensor: this.tape.input(part.input, part.shape) }));
  }
}

/** Views of the values that the parts stand for, not copies; the names of the parameters begin with `prefix`. */
export function partFeeds(values: ParameterValues, parts: readonly ParameterPart[], prefix = ""): Feeds {
  return Object.fromEntries(
    parts.map(({ input, parameter, from, to, shape }) => {
      return [input, toTensor(values.get(`${prefix}${parameter}`)!.subarray(from, to), shape)];
    }),
  );
}
