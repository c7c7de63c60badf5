/**
 * Reverse-mode differentiation of ONNX graphs. A tape records operations on tensors (tensor-ops.ts has them, each with
 * its adjoint); `gradients` records the adjoints on the same tape; `emit` turns what the wanted outputs need, and
 * nothing else, into nodes of a graph.
 *
 * A shape is known when an operation is recorded: numbers are fixed, names stand for sizes that vary from run to run.
 */
import { type Dimension, GraphBuilder, type Value } from "./graph.js";

export type Shape = readonly Dimension[];

/** A tensor on a tape, of float32 unless it is an input of integers. */
export interface Tensor {
  readonly tape: Tape;
  readonly shape: Shape;
  /** Known to be zero throughout: operations on it fold away. */
  readonly isZero: boolean;
}

/** What emitting a node may use. */
export interface Emission {
  graph: GraphBuilder;
  /** A shape as a vector of integers; a name that no input has becomes -1, at most one. */
  shapeVector(shape: Shape): Value;
}

/** Adds the nodes of an operation, given the values of its inputs. */
export type Emit = (emission: Emission, inputs: Value[]) => Value[];

/** Given the gradient of each output, the gradient of each input; null where there is none to give. */
export type Adjoint = (cotangents: Tensor[]) => (Tensor | null)[];

interface TapeNode {
  inputs: readonly Tensor[];
  outputs: Tensor[];
  emit: Emit;
  adjoint: Adjoint;
}

export interface NamedTensor {
  name: string;
  tensor: Tensor;
}

export class Tape {
  private readonly nodes: TapeNode[] = [];
  private readonly inputs = new Map<Tensor, { name: string; type: "f32" | "i64" }>();

  /** An input of the graph that will be emitted, if anything needs it; asked for again, the same tensor. */
  input(name: string, shape: Shape, type: "f32" | "i64" = "f32"): Tensor {
    for (const [known, input] of this.inputs) {
      if (input.name !== name) continue;
      if (`${known.shape}` !== `${shape}`) throw new Error(`${name} has the shape [${known.shape}], not [${shape}]`);
      return known;
    }
    const tensor = this.tensor(shape);
    this.inputs.set(tensor, { name, type });
    return tensor;
  }

  /** A number, as a tensor without axes. */
  scalar(value: number): Tensor {
    return this.record([], [[]], ({ graph }) => [graph.constant("f32", [value], [])], noAdjoint)[0]!;
  }

  zeros(shape: Shape): Tensor {
    const tensor = { tape: this, shape, isZero: true };
    this.nodes.push({
      inputs: [],
      outputs: [tensor],
      emit: ({ graph, shapeVector }) => [graph.node("Expand", [graph.constant("f32", [0], []), shapeVector(shape)])],
      adjoint: noAdjoint,
    });
    return tensor;
  }

  /** Adds an operation whose outputs have the given shapes. */
  record(inputs: readonly Tensor[], shapes: readonly Shape[], emit: Emit, adjoint: Adjoint): Tensor[] {
    const outputs = shapes.map((shape) => this.tensor(shape));
    this.nodes.push({ inputs, outputs, emit, adjoint });
    return outputs;
  }

  /**
   * The gradient with respect to each of `sources` of the sum of all `outputs`, each multiplied by its cotangent (of the
   * same shape).
   */
  gradients(outputs: readonly { tensor: Tensor; cotangent: Tensor }[], sources: readonly Tensor[]): Tensor[] {
    const active = this.dependents(sources);
    const cotangents = new Map<Tensor, Tensor>();
    const accumulate = (tensor: Tensor, cotangent: Tensor) => {
      if (`${tensor.shape}` !== `${cotangent.shape}`) {
        throw new Error(`the gradient of a tensor [${tensor.shape}] has shape [${cotangent.shape}]`);
      }
      if (cotangent.isZero || !active.has(tensor)) return;
      const known = cotangents.get(tensor);
      cotangents.set(tensor, known ? this.sum(known, cotangent) : cotangent);
    };
    const last = this.nodes.length;
    for (const { tensor, cotangent } of outputs) accumulate(tensor, cotangent);
    for (let i = last - 1; i >= 0; i--) {
      const { inputs, outputs: results, adjoint } = this.nodes[i]!;
      if (!results.some((result) => cotangents.has(result))) continue;
      const given = adjoint(results.map((result) => cotangents.get(result) ?? this.zeros(result.shape)));
      for (const [k, input] of inputs.entries()) {
        const cotangent = given[k];
        if (cotangent) accumulate(input, cotangent);
      }
    }
    return sources.map((source) => cotangents.get(source) ?? this.zeros(source.shape));
  }

  /**
   * The graph that computes these outputs, as the bytes of an ONNX model, and the names of the inputs it needs. Tensors
   * that are `given` become inputs: another graph has computed them.
   */
  emit(
    name: string,
    outputs: readonly NamedTensor[],
    given: readonly NamedTensor[] = [],
  ): { model: Uint8Array; inputs: string[] } {
    const known = new Set(given.map(({ tensor }) => tensor));
    const needed = this.needed(
      outputs.map(({ tensor }) => tensor),
      known,
    );
    const graph = new GraphBuilder(name, "");
    const values = new Map<Tensor, Value>();
    const inputs = new Map([
      ...this.inputs,
      ...given.map((input) => [input.tensor, { name: input.name, type: "f32" }] as const),
    ]);
    const used: string[] = [];
    const use = (tensor: Tensor): Value => {
      const there = values.get(tensor);
      if (there) return there;
      const { name: inputName, type } = inputs.get(tensor)!;
      const value = graph.input(inputName, type, tensor.shape);
      values.set(tensor, value);
      used.push(inputName);
      return value;
    };
    const wanted = [...inputs.keys()].filter((tensor) => needed.has(tensor));
    for (const tensor of wanted) use(tensor);
    // An input that nothing else needs may still be the one that knows a size.
    const sizeOf = (size: string): Value | null => {
      const tensor = [...wanted, ...this.inputs.keys()].find(({ shape }) => shape.includes(size));
      if (!tensor) return null;
      const axis = tensor.shape.indexOf(size);
      return graph.node("Shape", [use(tensor)], { attributes: { start: axis, end: axis + 1 } });
    };
    const emission = { graph, shapeVector: shapeVectors(graph, sizeOf) };
    for (const node of this.nodes) {
      if (!node.outputs.some((output) => needed.has(output) && !known.has(output))) continue;
      const results = node.emit(
        emission,
        node.inputs.map((input) => values.get(input)!),
      );
      for (const [k, output] of node.outputs.entries()) if (!known.has(output)) values.set(output, results[k]!);
    }
    for (const { name: outputName, tensor } of outputs) {
      graph.output(outputName, values.get(tensor)!, "f32", tensor.shape);
    }
    return { model: graph.toBytes(), inputs: used };
  }

  private tensor(shape: Shape): Tensor {
    return { tape: this, shape, isZero: false };
  }

  private sum(a: Tensor, b: Tensor): Tensor {
    const emit: Emit = ({ graph }, inputs) => [graph.node("Add", inputs)];
    return this.record([a, b], [a.shape], emit, ([g]) => [g!, g!])[0]!;
  }

  /** Tensors that depend on one of `sources`, these included. */
  private dependents(sources: readonly Tensor[]): Set<Tensor> {
    const found = new Set(sources);
    for (const { inputs, outputs } of this.nodes) {
      if (inputs.some((input) => found.has(input))) for (const output of outputs) found.add(output);
    }
    return found;
  }

  /** Tensors that one of `outputs` depends on, these included, but not beyond those that are known. */
  private needed(outputs: readonly Tensor[], known: ReadonlySet<Tensor>): Set<Tensor> {
    const found = new Set(outputs);
    for (let i = this.nodes.length - 1; i >= 0; i--) {
      const node = this.nodes[i]!;
      if (node.outputs.some((output) => found.has(output) && !known.has(output)))
        for (const input of node.inputs) found.add(input);
    }
    return found;
  }
}

const noAdjoint: Adjoint = () => [];

/** Puts shape vectors together from constants and the sizes of inputs. */
function shapeVectors(graph: GraphBuilder, sizeOf: (size: string) => Value | null) {
  const sizes = new Map<Dimension, Value>();
  const vectors = new Map<string, Value>();
  return (shape: Shape): Value => {
    const unknown: Dimension[] = [];
    const parts = shape.map((size) => {
      const known = sizes.get(size) ?? (typeof size === "string" ? sizeOf(size) : graph.constant("i64", [size]));
      if (known) sizes.set(size, known);
      else unknown.push(size);
      return known ?? graph.constant("i64", [-1]);
    });
    if (unknown.length > 1) throw new Error(`no input of the graph has the sizes ${unknown}`);
    const key = `${shape}`;
    let vector = vectors.get(key);
    if (!vector) {
      const isFixed = shape.every((size) => typeof size === "number");
      vector = isFixed
        ? graph.constant("i64", shape as number[])
        : graph.node("Concat", parts, { attributes: { axis: 0 } });
      vectors.set(key, vector);
    }
    return vector;
  };
}
