/** Runs what a tape records, and checks its gradients by differences. */
import * as ort from "onnxruntime-node";
import { expect } from "vitest";
import { Tape, type Tensor } from "../../src/onnx/tape.js";
import { randomTokens } from "./random-tokens.js";

export interface TestArray {
  /** Sizes by which the graph knows the axes: names for sizes that it does not. */
  shape: (number | string)[];
  dims: number[];
  data: Float32Array | BigInt64Array;
}

/** Numbers between `low` and `high`; an axis given as `[name, size]` has no fixed size in the graph. */
export function numbers(shape: (number | [string, number])[], low = -1, high = 1, seed = 1): TestArray {
  const dims = shape.map((size) => (typeof size === "number" ? size : size[1]));
  const length = dims.reduce((a, b) => a * b, 1);
  const steps = 1 << 20;
  const data = Float32Array.from(randomTokens(length, steps, seed), (value) => low + ((high - low) * value) / steps);
  return { shape: shape.map((size) => (typeof size === "number" ? size : size[0])), dims, data };
}

type Inputs = Record<string, TestArray>;
type Build<I> = (tensors: { [K in keyof I]: Tensor }, tape: Tape) => Tensor;

/** The graph's outputs by name, as functions of the inputs' values. */
async function compile(
  inputs: Inputs,
  record: (tape: Tape, tensors: Record<string, Tensor>) => Record<string, Tensor>,
) {
  const tape = new Tape();
  const type = ({ data }: TestArray) => (data instanceof Float32Array ? "f32" : "i64");
  const tensors = Object.fromEntries(
    Object.entries(inputs).map(([name, array]) => [name, tape.input(name, array.shape, type(array))]),
  );
  const outputs = Object.entries(record(tape, tensors)).map(([name, tensor]) => ({ name, tensor }));
  const { model, inputs: needed } = tape.emit("test", outputs);
  const session = await ort.InferenceSession.create(model, { logSeverityLevel: 3, intraOpNumThreads: 1 });
  const run = async (values: Inputs) => {
    const feeds = needed.map((name) => {
      const { data, dims } = values[name]!;
      return [name, data instanceof Float32Array ? new ort.Tensor("float32", data, dims) : new ort.Tensor(data, dims)];
    });
    return session.run(Object.fromEntries(feeds));
  };
  return { run, release: () => session.release() };
}

/** The value of a recorded function; `others` are inputs that it declares itself. */
export async function evaluate<I extends Inputs>(
  inputs: I,
  build: Build<I>,
  others: Inputs = {},
): Promise<{ data: Float32Array; dims: readonly number[] }> {
  const graph = await compile(inputs, (tape, tensors) => ({
    result: build(tensors as Parameters<typeof build>[0], tape),
  }));
  const { result } = await graph.run({ ...inputs, ...others });
  await graph.release();
  return { data: result!.data as Float32Array, dims: result!.dims };
}

/** Step of the differences, and how far gradients may be off, relative to the largest of a tensor. */
const step = 0.02;
const tolerance = 3e-4;

/**
 * Compares the gradient of a random weighted sum of the function's values with differences of fourth order, in every
 * element of every input of floats. Values come in float32; their differences are summed in float64.
 */
export async function checkGradients<I extends Inputs>(inputs: I, build: Build<I>, others: Inputs = {}): Promise<void> {
  const { data, dims } = await evaluate(inputs, build, others);
  const cotangent = numbers([...dims], 0.5, 1.5, 99);
  const sources = Object.keys(inputs).filter((name) => inputs[name]!.data instanceof Float32Array);
  const all: Inputs = { ...inputs, cotangent };
  const graph = await compile(all, (tape, tensors) => {
    const result = build(tensors as Parameters<typeof build>[0], tape);
    // The same sizes under the names that the result has them by.
    const given = tape.input("named", result.shape);
    const gradients = tape.gradients(
      [{ tensor: result, cotangent: given }],
      sources.map((name) => tensors[name]!),
    );
    return { result, ...Object.fromEntries(sources.map((name, i) => [`gradient.${name}`, gradients[i]!])) };
  });
  const named = { ...all, ...others, named: cotangent };
  const results = await graph.run(named);
  expect(data.length).toBeGreaterThan(0);
  const value = async (name: string, element: number, change: number) => {
    const moved = (inputs[name]!.data as Float32Array).slice();
    moved[element]! += change;
    const { result } = await graph.run({ ...named, [name]: { ...inputs[name]!, data: moved } });
    const values = result!.data as Float32Array;
    // The difference from the unmoved values first: summing large values would lose it.
    return values.reduce((sum, x, i) => sum + (x - data[i]!) * (cotangent.data[i] as number), 0);
  };
  for (const name of sources) {
    const found = results[`gradient.${name}`]!;
    expect(found.dims, name).toEqual(inputs[name]!.dims);
    const gradient = found.data as Float32Array;
    const expected: number[] = [];
    for (let i = 0; i < gradient.length; i++) {
      const near = (await value(name, i, step)) - (await value(name, i, -step));
      const far = (await value(name, i, 2 * step)) - (await value(name, i, -2 * step));
      expected.push((8 * near - far) / (12 * step));
    }
    const largest = Math.max(...expected.map(Math.abs));
    for (const [i, slope] of expected.entries()) {
      expect(Math.abs(gradient[i]! - slope), `${name}[${i}]: ${gradient[i]} for ${slope}`).toBeLessThan(
        tolerance * Math.max(largest, 1e-3),
      );
    }
  }
  await graph.release();
}
