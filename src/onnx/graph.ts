/**
 * A small typed builder of ONNX graphs: nodes are added in execution order, values are passed from one to the next,
 * and the result is the protobuf of a model whose large weights stand in a separate file (a protobuf ends at 2 GB).
 * Knows ONNX, nothing of models.
 */
import { create, toBinary } from "@bufbuild/protobuf";
import {
  AttributeProtoSchema,
  AttributeProto_AttributeType as AttributeType,
  TensorProto_DataLocation as DataLocation,
  TensorProto_DataType as DataType,
  GraphProtoSchema,
  ModelProtoSchema,
  NodeProtoSchema,
  OperatorSetIdProtoSchema,
  StringStringEntryProtoSchema,
  TensorProtoSchema,
  TensorShapeProto_DimensionSchema,
  TensorShapeProtoSchema,
  TypeProto_TensorSchema,
  TypeProtoSchema,
  ValueInfoProtoSchema,
} from "onnx-buf";

/** A value of the graph: an input, a constant or the output of a node. */
export interface Value {
  readonly name: string;
}

export type ElementType = "f32" | "i64" | "u8";

/** A number is fixed, a name varies from run to run. */
export type Dimension = number | string;

export type Attribute = number | string | readonly number[];

/** Integers by default; a JavaScript number cannot say which of the two ONNX kinds it means. */
export interface NodeOptions {
  /** Operator set; the standard one by default. */
  domain?: "com.microsoft";
  /** Integer, integer list and string attributes. */
  attributes?: Readonly<Record<string, Attribute>>;
  /** Attributes of float type. */
  floats?: Readonly<Record<string, number>>;
}

/** Where the bytes of a weight belong in the file of external data. */
export interface ExternalWeight {
  name: string;
  offset: number;
  byteLength: number;
}

const dataType: Record<ElementType, DataType> = { f32: DataType.FLOAT, i64: DataType.INT64, u8: DataType.UINT8 };
const elementBytes: Record<ElementType, number> = { f32: 4, i64: 8, u8: 1 };

/** Weights start on cache lines, so that vector loads over a mapped file are aligned. */
const weightAlignment = 64;
const irVersion = 10;
const standardOpset = 21;

export class GraphBuilder {
  readonly externalWeights: ExternalWeight[] = [];
  /** Bytes of the external data file. */
  externalBytes = 0;

  private readonly graph = create(GraphProtoSchema);
  /** Where nodes are added: the graph's own, or those of a branch. */
  private target = this.graph.node;
  private readonly taken = new Set<string>();
  private readonly constants = new Map<string, Value>();

  /** `weightsFile` is the external data's file name, beside the model file. */
  constructor(
    name: string,
    private readonly weightsFile: string,
  ) {
    this.graph.name = name;
  }

  input(name: string, type: ElementType, shape: readonly Dimension[]): Value {
    this.graph.input.push(valueInfo(this.claim(name), type, shape));
    return { name };
  }

  /** Makes `value` an output called `name`. */
  output(name: string, value: Value, type: ElementType, shape: readonly Dimension[]): void {
    this.graph.output.push(valueInfo(this.claim(name), type, shape));
    this.addNode("Identity", [value], [name], {});
  }

  /** A small constant inside the model file; equal ones are stored once. */
  constant(type: "f32" | "i64", values: readonly number[], shape: readonly number[] = [values.length]): Value {
    const key = `${type}[${shape}]${values}`;
    const known = this.constants.get(key);
    if (known) return known;
    const value = { name: this.unique("constant") };
    const array = type === "f32" ? Float32Array.from(values) : BigInt64Array.from(values, BigInt);
    this.graph.initializer.push(
      create(TensorProtoSchema, {
        name: value.name,
        dataType: dataType[type],
        dims: shape.map(BigInt),
        rawData: new Uint8Array(array.buffer),
      }),
    );
    this.constants.set(key, value);
    return value;
  }

  /** A weight in the external data file. The caller writes its bytes where {@link externalWeights} says. */
  weight(name: string, type: ElementType, shape: readonly number[]): Value {
    const byteLength = shape.reduce((a, b) => a * b, elementBytes[type]);
    const offset = Math.ceil(this.externalBytes / weightAlignment) * weightAlignment;
    const entries = { location: this.weightsFile, offset: String(offset), length: String(byteLength) };
    this.graph.initializer.push(
      create(TensorProtoSchema, {
        name: this.claim(name),
        dataType: dataType[type],
        dims: shape.map(BigInt),
        dataLocation: DataLocation.EXTERNAL,
        externalData: Object.entries(entries).map(([key, value]) =>
          create(StringStringEntryProtoSchema, { key, value }),
        ),
      }),
    );
    this.externalWeights.push({ name, offset, byteLength });
    this.externalBytes = offset + byteLength;
    return { name };
  }

  /** Adds a node with one output. A `null` input is an optional one left out. */
  node(operator: string, inputs: readonly (Value | null)[], options: NodeOptions = {}): Value {
    return this.nodes(operator, inputs, 1, options)[0]!;
  }

  /** Adds a node with several outputs. */
  nodes(operator: string, inputs: readonly (Value | null)[], outputs: number, options: NodeOptions = {}): Value[] {
    const names = Array.from({ length: outputs }, () => this.unique(operator));
    this.addNode(operator, inputs, names, options);
    return names.map((name) => ({ name }));
  }

  /**
   * The value of `then` where the one boolean in `condition` is true, else that of `otherwise`. Each function adds the
   * nodes of its branch, of which only one is run; they may use what the graph has so far.
   */
  choose(condition: Value, then: () => Value, otherwise: () => Value): Value {
    const value = { name: this.unique("If") };
    const node = create(NodeProtoSchema, {
      name: `If:${value.name}`,
      opType: "If",
      input: [condition.name],
      output: [value.name],
      attribute: [this.branch("then_branch", then), this.branch("else_branch", otherwise)],
    });
    this.target.push(node);
    return value;
  }

  toBytes(): Uint8Array {
    const model = create(ModelProtoSchema, {
      irVersion: BigInt(irVersion),
      producerName: "picaso",
      graph: this.graph,
      opsetImport: [
        create(OperatorSetIdProtoSchema, { domain: "", version: BigInt(standardOpset) }),
        create(OperatorSetIdProtoSchema, { domain: "com.microsoft", version: 1n }),
      ],
    });
    return toBinary(ModelProtoSchema, model);
  }

  private branch(name: string, build: () => Value) {
    const branch = create(GraphProtoSchema, { name: this.unique(name) });
    const outer = this.target;
    this.target = branch.node;
    const value = build();
    const result = { name: this.unique("result") };
    this.addNode("Identity", [value], [result.name], {});
    this.target = outer;
    branch.output.push(create(ValueInfoProtoSchema, result));
    return create(AttributeProtoSchema, { name, type: AttributeType.GRAPH, g: branch });
  }

  private addNode(
    opType: string,
    inputs: readonly (Value | null)[],
    output: string[],
    { domain = undefined, attributes = {}, floats = {} }: NodeOptions,
  ): void {
    this.target.push(
      create(NodeProtoSchema, {
        name: `${opType}:${output[0]}`,
        opType,
        domain: domain ?? "",
        input: inputs.map((value) => value?.name ?? ""),
        output,
        attribute: [
          ...Object.entries(attributes).map(([name, value]) => attribute(name, value)),
          ...Object.entries(floats).map(([name, f]) =>
            create(AttributeProtoSchema, { name, type: AttributeType.FLOAT, f }),
          ),
        ],
      }),
    );
  }

  private unique(stem: string): string {
    let number = this.taken.size;
    while (this.taken.has(`${stem}_${number}`)) number++;
    return this.claim(`${stem}_${number}`);
  }

  private claim(name: string): string {
    if (this.taken.has(name)) throw new Error(`the graph already has a value called ${name}`);
    this.taken.add(name);
    return name;
  }
}

function valueInfo(name: string, type: ElementType, shape: readonly Dimension[]) {
  const dim = shape.map((size) =>
    create(TensorShapeProto_DimensionSchema, {
      value: typeof size === "number" ? { case: "dimValue", value: BigInt(size) } : { case: "dimParam", value: size },
    }),
  );
  const tensor = create(TypeProto_TensorSchema, {
    elemType: dataType[type],
    shape: create(TensorShapeProtoSchema, { dim }),
  });
  return create(ValueInfoProtoSchema, {
    name,
    type: create(TypeProtoSchema, { value: { case: "tensorType", value: tensor } }),
  });
}

function attribute(name: string, value: Attribute) {
  if (typeof value === "string") {
    return create(AttributeProtoSchema, { name, type: AttributeType.STRING, s: new TextEncoder().encode(value) });
  }
  if (typeof value === "number") {
    return create(AttributeProtoSchema, { name, type: AttributeType.INT, i: BigInt(value) });
  }
  return create(AttributeProtoSchema, { name, type: AttributeType.INTS, ints: value.map(BigInt) });
}
