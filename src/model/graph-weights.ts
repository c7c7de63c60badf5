/**
 * The weights of a model in its graph, each stored once whatever uses it: vectors and the convolution in f32, matrices
 * in f32 or in quantised blocks. The graph holds their names and places; {@link WeightFill} says which values of the
 * checkpoint go there.
 */
import type { ExternalWeight, GraphBuilder, Value } from "../onnx/graph.js";
import type { Mamba2Config } from "./config.js";
import type { Device } from "./device.js";
import type { GraphWeights } from "./onnx-operations.js";
import { parameterShapes } from "./parameters.js";
import { blockSizeOf, blocksOf, QUANTIZED_BITS, type QuantizedDtype, type WeightDtype } from "./quantize.js";

const contrib = { domain: "com.microsoft" } as const;

/** A parameter of the checkpoint, and where its values belong in the weights file. */
export type WeightFill = { parameter: string } & (
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
    private readonly device: Device,
  ) {
    this.shapes = parameterShapes(config);
  }

  tensor(name: string): Value {
    const known = this.tensors.get(name);
    if (known) return known;
    const value = this.graph.weight(name, "f32", this.shape(name));
    this.tensors.set(name, value);
    this.fills.push({ parameter: name, dtype: "f32", values: this.graph.externalWeights.at(-1)! });
    return value;
  }

  product(x: Value, weight: string, bias: string | null): Value {
    const dtype = this.dtypeOf(weight);
    const product = dtype === "f32" ? this.floatProduct(x, weight) : this.blockProduct(x, weight, dtype);
    return bias === null ? product : this.graph.node("Add", [product, this.tensor(bias)]);
  }

  gather(ids: Value, weight: string): Value {
    const { graph } = this;
    const dtype = this.dtypeOf(weight);
    if (dtype === "f32") return graph.node("Gather", [this.tensor(weight), ids], { attributes: { axis: 0 } });
    const rowLength = this.shape(weight)[1]!;
    const { codes, scales } = this.matrix(weight, dtype);
    const blocks = graph.node(
      "GatherBlockQuantized",
      [codes, ids, graph.node("Unsqueeze", [scales, graph.constant("i64", [2])])],
      {
        ...contrib,
        attributes: {
          gather_axis: 0,
          quantize_axis: 2,
          block_size: blockSizeOf(rowLength),
          bits: QUANTIZED_BITS[dtype],
        },
      },
    );
    const padded = graph.node("Reshape", [
      blocks,
      graph.constant("i64", [0, 0, blocksOf(rowLength) * blockSizeOf(rowLength)]),
    ]);
    if (rowLength % blockSizeOf(rowLength) === 0) return padded;
    const [start, end, axis] = [0, rowLength, 2].map((value) => graph.constant("i64", [value])) as [
      Value,
      Value,
      Value,
    ];
    return graph.node("Slice", [padded, start, end, axis]);
  }

  private floatProduct(x: Value, weight: string): Value {
    const { graph } = this;
    const matrix = this.tensor(weight);
    if (this.device === "cpu") return graph.node("FusedMatMul", [x, matrix], { ...contrib, attributes: { transB: 1 } });
    // The WebGPU engine has no FusedMatMul and would take each product to the CPU and back.
    return graph.node("MatMul", [x, graph.node("Transpose", [matrix], { attributes: { perm: [1, 0] } })]);
  }

  private blockProduct(x: Value, weight: string, dtype: QuantizedDtype): Value {
    const { codes, scales } = this.matrix(weight, dtype);
    const [rows, rowLength] = this.shape(weight) as [number, number];
    return this.graph.node("MatMulNBits", [x, codes, scales], {
      ...contrib,
      attributes: {
        K: rowLength,
        N: rows,
        bits: QUANTIZED_BITS[dtype],
        block_size: blockSizeOf(rowLength),
        // Activations are rounded to 8 bits too, in blocks of the same size.
        accuracy_level: 4,
      },
    });
  }

  /** Embeddings never have fewer than 8 bits: with 4 they would cost as much perplexity as half of all the others. */
  private dtypeOf(matrix: string): WeightDtype {
    const isEmbedding = matrix === "backbone.embeddings.weight" || matrix === "lm_head.weight";
    return this.dtype === "q4" && isEmbedding ? "q8" : this.dtype;
  }

  private matrix(parameter: string, dtype: QuantizedDtype): Matrix {
    const known = this.matrices.get(parameter);
    if (known) return known;
    const [rows, rowLength] = this.shape(parameter) as [number, number];
    const blocks = blocksOf(rowLength);
    const blockBytes = (blockSizeOf(rowLength) * QUANTIZED_BITS[dtype]) / 8;
    const codes = this.graph.weight(`${parameter}.codes`, "u8", [rows, blocks, blockBytes]);
    const scales = this.graph.weight(`${parameter}.scales`, "f32", [rows, blocks]);
    const [codesPlace, scalesPlace] = this.graph.externalWeights.slice(-2) as [ExternalWeight, ExternalWeight];
    this.fills.push({ parameter, dtype, rowLength, codes: codesPlace, scales: scalesPlace });
    this.matrices.set(parameter, { codes, scales });
    return { codes, scales };
  }

  private shape(name: string): number[] {
    const shape = this.shapes.get(name);
    if (!shape) throw new Error(`mamba2.ts uses ${name}, which parameters.ts does not list`);
    return shape;
  }
}
