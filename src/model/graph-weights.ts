/**
 * The weights of a model in its graph, each stored once whatever uses it: vectors and the convolution in f32, matrices
 * in f32 or in quantised blocks. The graph holds their names and places; {@link WeightFill} says which values of the
 * checkpoint go there.
 */
import type { ExternalWeight, GraphBuilder, Value } from "../onnx/graph.js";
import type { Mamba2Config } from "./config.js";
import type { GraphWeights } from "./onnx-operations.js";
import { parameterShapes } from "./parameters.js";
import { BLOCK_SIZE, blocksOf, QUANTIZED_BITS, type QuantizedDtype, type WeightDtype } from "./quantize.js";

const contrib = { domain: "com.microsoft" } as const;

/** Elements `[from, to)` of a parameter of the checkpoint, and where they belong in the weights file. */
export type WeightFill = { parameter: string; from: number; to: number } & (
  | { dtype: "f32"; values: ExternalWeight }
  | { dtype: QuantizedDtype; rowLength: number; codes: ExternalWeight; scales: ExternalWeight }
);

interface Matrix {
  codes: Value;
  scales: Value;
}

export class StoredWeights implements GraphWeights {
  readonly fills: WeightFill[] = [];
  private readonly shapes: Map<string, number[]>;
  private readonly tensors = new Map<string, Value>();
  private readonly matrices = new Map<string, Matrix>();

  constructor(
    private readonly graph: GraphBuilder,
    config: Mamba2Config,
    private readonly dtype: WeightDtype,
  ) {
    this.shapes = parameterShapes(config);
  }

  tensor(name: string): Value {
    return this.slice(name, 0, this.shape(name)[0]!);
  }

  product(x: Value, weight: string, bias: string | null, [from, to]: readonly [number, number]): Value {
    const product =
      this.dtype === "f32" ? this.floatProduct(x, weight, from, to) : this.blockProduct(x, weight, from, to);
    return bias === null ? product : this.graph.node("Add", [product, this.slice(bias, from, to)]);
  }

  gather(ids: Value, weight: string): Value {
    const { graph, dtype } = this;
    if (dtype === "f32") return graph.node("Gather", [this.tensor(weight), ids], { attributes: { axis: 0 } });
    const [rows, rowLength] = this.shape(weight) as [number, number];
    const { codes, scales } = this.matrix(weight, 0, rows, dtype);
    const blocks = graph.node(
      "GatherBlockQuantized",
      [codes, ids, graph.node("Unsqueeze", [scales, graph.constant("i64", [2])])],
      {
        ...contrib,
        attributes: { gather_axis: 0, quantize_axis: 2, block_size: BLOCK_SIZE, bits: QUANTIZED_BITS[dtype] },
      },
    );
    const padded = graph.node("Reshape", [blocks, graph.constant("i64", [0, 0, blocksOf(rowLength) * BLOCK_SIZE])]);
    if (rowLength % BLOCK_SIZE === 0) return padded;
    const [start, end, axis] = [0, rowLength, 2].map((value) => graph.constant("i64", [value])) as [
      Value,
      Value,
      Value,
    ];
    return graph.node("Slice", [padded, start, end, axis]);
  }

  private floatProduct(x: Value, weight: string, from: number, to: number): Value {
    const attributes = { transB: 1 };
    return this.graph.node("FusedMatMul", [x, this.slice(weight, from, to)], { ...contrib, attributes });
  }

  private blockProduct(x: Value, weight: string, from: number, to: number): Value {
    const dtype = this.dtype as QuantizedDtype;
    const { codes, scales } = this.matrix(weight, from, to, dtype);
    return this.graph.node("MatMulNBits", [x, codes, scales], {
      ...contrib,
      attributes: {
        K: this.shape(weight)[1]!,
        N: to - from,
        bits: QUANTIZED_BITS[dtype],
        block_size: BLOCK_SIZE,
        // Activations are rounded to 8 bits too, in blocks of the same size.
        accuracy_level: 4,
      },
    });
  }

  /** Rows `[from, to)` of a matrix in blocks. */
  private matrix(parameter: string, from: number, to: number, dtype: QuantizedDtype): Matrix {
    const name = `${parameter}[${from}:${to}]`;
    const known = this.matrices.get(name);
    if (known) return known;
    const rowLength = this.shape(parameter)[1]!;
    const blocks = blocksOf(rowLength);
    const blockBytes = (BLOCK_SIZE * QUANTIZED_BITS[dtype]) / 8;
    const codes = this.graph.weight(`${name}.codes`, "u8", [to - from, blocks, blockBytes]);
    const scales = this.graph.weight(`${name}.scales`, "f32", [to - from, blocks]);
    const [codesPlace, scalesPlace] = this.graph.externalWeights.slice(-2) as [ExternalWeight, ExternalWeight];
    const range = { parameter, from: from * rowLength, to: to * rowLength };
    this.fills.push({ ...range, dtype, rowLength, codes: codesPlace, scales: scalesPlace });
    this.matrices.set(name, { codes, scales });
    return { codes, scales };
  }

  /** Rows `[from, to)` of a parameter along its first axis, in f32. */
  private slice(parameter: string, from: number, to: number): Value {
    const [rows, ...rest] = this.shape(parameter) as [number, ...number[]];
    const name = from === 0 && to === rows ? parameter : `${parameter}[${from}:${to}]`;
    const known = this.tensors.get(name);
    if (known) return known;
    const rowSize = rest.reduce((a, b) => a * b, 1);
    const value = this.graph.weight(name, "f32", [to - from, ...rest]);
    this.tensors.set(name, value);
    const values = this.graph.externalWeights.at(-1)!;
    this.fills.push({ parameter, from: from * rowSize, to: to * rowSize, dtype: "f32", values });
    return value;
  }

  private shape(name: string): number[] {
    const shape = this.shapes.get(name);
    if (!shape) throw new Error(`mamba2.ts uses ${name}, which parameters.ts does not list`);
    return shape;
  }
}
