/**
 * The operations of a Mamba-2 model, recorded for one token: running the model's description (mamba2.ts) once over them
 * leaves the list of steps that the decoder repeats for every token. Nothing is computed here.
 *
 * Steps do more than single operations, so that the threads meet seldom and nothing goes through memory twice: all that
 * a head does between convolution and norm is one step, a product adds to the residual itself, and a norm writes the
 * form that the product after it reads. Values are therefore mostly descriptions, which the operation that completes a
 * step takes in; a description that is used in a way which no step computes is an error.
 */
import type { Mamba2Config } from "../config.js";
import type { WeightFill } from "../graph-weights.js";
import type { Operations } from "../operations.js";
import { blockSizeOf, blocksOf } from "../quantize.js";
import { CONV_CHUNK, chunkRows, float, type Step } from "./steps.js";

/** Numbers in memory. */
interface Vector {
  kind: "vector";
  address: number;
  length: number;
}
interface Norm {
  kind: "norm";
  x: Vector;
  weight: number;
  epsilon: number;
}
/** What a product has written, unless it is added to something, which {@link Step} can still be told. */
interface Product {
  kind: "product";
  step: Step;
  output: Vector;
}
interface TimeStep {
  kind: "time step";
  raw: Vector;
  bias: number;
  limit: readonly [number, number];
}
interface LogTransition {
  kind: "log transition";
  dt: TimeStep;
  aLog: number;
  output: Vector;
}
interface Scaled {
  kind: "scaled";
  x: Vector;
  by: TimeStep | number;
}
interface Scan {
  kind: "scan";
  value: Scaled;
  logA: LogTransition;
  b: Vector;
  c: Vector;
  state: Vector;
  /** Address of D, once it is added. */
  skip: number | null;
}

export type Value = { kind: "token" } | Vector | Norm | Product | TimeStep | LogTransition | Scaled | Scan;

/** Forms of a product's input, as products.as.ts numbers them. */
const forms = { f32: 0, q8: 1, q4: 2 } as const;

/** Arguments of a product that are set when its use is known. */
const OUT = 9;
const ADD = 10;

export class StepRecorder implements Operations<Value> {
  readonly steps: Step[] = [];
  /** Log transitions of all layers: [L, H]. */
  readonly logDecay: Vector;
  private readonly fills: Map<string, WeightFill>;
  private readonly rooms = new Map<string, Vector>();
  private layers = 0;

  /**
   * @param fills Where the weights stand in their file, the first byte of which is at address `weights`.
   * @param allocate The address of so many new bytes, on a cache line.
   */
  constructor(
    private readonly config: Mamba2Config,
    fills: readonly WeightFill[],
    private readonly weights: number,
    private readonly allocate: (bytes: number) => number,
  ) {
    this.fills = new Map(fills.map((fill) => [fill.parameter, fill]));
    this.logDecay = this.vector(config.layers * config.heads);
  }

  /** New room for numbers. */
  vector(length: number): Vector {
    return { kind: "vector", address: this.allocate(4 * length), length };
  }

  embed(_: Value, weight: string): Vector {
    const columns = this.config.hiddenSize;
    const out = this.vector(columns);
    const table = this.fill(weight);
    if (table.dtype === "f32") {
      this.steps.push({ kind: "embedF32", chunks: 1, args: [this.at(table.values), columns, out.address] });
      return out;
    }
    if (table.dtype === "q4") throw new Error("embeddings have at least 8 bits");
    const blocks = [blocksOf(columns), blockSizeOf(columns)];
    const args = [this.at(table.codes), this.at(table.scales), columns, ...blocks, out.address];
    this.steps.push({ kind: "embedQ8", chunks: 1, args });
    return out;
  }

  linear(x: Value, weight: string, bias: string | null, sizes: readonly number[]): Value[] {
    const rows = sizes.reduce((a, b) => a + b, 0);
    const product = this.product(x, weight, bias, this.room(`product of ${rows}`, 4 * rows));
    return sizes.length === 1 ? [product] : this.split(product.output, sizes);
  }

  /** A matrix times a normalised vector. */
  product(x: Value, weight: string, bias: string | null, output: Vector): Product {
    const norm = expect(x, "norm");
    const matrix = this.fill(weight);
    const columns = norm.x.length;
    const form = forms[matrix.dtype];
    const [size, blocks] = matrix.dtype === "f32" ? [0, columns] : [blockSizeOf(columns), blocksOf(columns)];
    // A block is its values in 16 bits behind 32 bytes; see `quantize` in products.as.ts.
    const input = this.room(`input of ${columns}`, Math.max(4 * columns, blocks * (32 + 2 * size)));
    // Behind the last value stand zeros up to a whole block, which nothing ever writes.
    const values = this.room(`norm of ${columns}`, 4 * Math.max(columns, blocks * size));
    const normArgs = [norm.x.address, norm.weight, columns, float(norm.epsilon), form, size];
    this.steps.push({ kind: "norm", chunks: 1, args: [...normArgs, input.address, values.address] });

    const [codes, scales] =
      matrix.dtype === "f32" ? [this.at(matrix.values), 0] : [this.at(matrix.codes), this.at(matrix.scales)];
    const rows = output.length;
    const chunk = chunkRows(rows);
    const args = [form, codes, scales, input.address, blocks, size, rows, chunk, this.parameter(bias)];
    const step: Step = { kind: "product", chunks: Math.ceil(rows / chunk), args: [...args, output.address, 0] };
    this.steps.push(step);
    return { kind: "product", step, output };
  }

  rmsNorm(x: Value, weight: string, epsilon: number): Norm {
    return { kind: "norm", x: expect(x, "vector"), weight: this.parameter(weight), epsilon };
  }

  gatedNorm(x: Value, gate: Value, weight: string, epsilon: number): Norm {
    return this.rmsNorm(this.heads(expect(x, "scan"), expect(gate, "vector")), weight, epsilon);
  }

  add(a: Value, b: Value): Value {
    if (a.kind === "vector" && b.kind === "product") {
      b.step.args[OUT] = a.address;
      b.step.args[ADD] = 1;
      return a;
    }
    const scan = expect(a, "scan");
    const { x, by } = expect(b, "scaled");
    if (typeof by !== "number" || x !== scan.value.x) throw new Error("a head adds its own inputs times D");
    return { ...scan, skip: by };
  }

  split(x: Value, sizes: readonly number[]): Vector[] {
    let { address } = expect(x, "vector");
    return sizes.map((length) => {
      const part: Vector = { kind: "vector", address, length };
      address += 4 * length;
      return part;
    });
  }

  causalConv(x: Value, past: Value, weight: string, bias: string | null): { output: Value; present: Value } {
    const input = expect(x, "vector");
    const state = expect(past, "vector");
    const channels = input.length;
    const output = this.room(`convolution of ${channels}`, 4 * channels);
    const places = [input.address, state.address, this.parameter(weight), this.parameter(bias)];
    const args = [...places, channels, this.config.convKernel - 1, CONV_CHUNK, output.address];
    this.steps.push({ kind: "convolve", chunks: Math.ceil(channels / CONV_CHUNK), args });
    return { output, present: state };
  }

  timeStep(raw: Value, bias: string, limit: readonly [number, number]): TimeStep {
    return { kind: "time step", raw: expect(raw, "vector"), bias: this.parameter(bias), limit };
  }

  logTransition(dt: Value, aLog: string): LogTransition {
    const { heads, layers } = this.config;
    const output = this.split(this.logDecay, new Array<number>(layers).fill(heads))[this.layers++]!;
    return { kind: "log transition", dt: expect(dt, "time step"), aLog: this.parameter(aLog), output };
  }

  scaleHeads(x: Value, scale: Value): Scaled {
    return { kind: "scaled", x: expect(x, "vector"), by: expect(scale, "time step") };
  }

  scaleHeadsBy(x: Value, weight: string): Scaled {
    return { kind: "scaled", x: expect(x, "vector"), by: this.parameter(weight) };
  }

  scan({ c, b, value, logA, past }: { c: Value; b: Value; value: Value; logA: Value; past: Value }) {
    const state = expect(past, "vector");
    const scan: Scan = {
      kind: "scan",
      value: expect(value, "scaled"),
      logA: expect(logA, "log transition"),
      b: expect(b, "vector"),
      c: expect(c, "vector"),
      state,
      skip: null,
    };
    if (scan.value.by !== scan.logA.dt) throw new Error("a head has one time step");
    return { output: scan, present: state };
  }

  /** The log transition itself: there is one token. */
  sumOverTokens(x: Value): Value {
    return x;
  }

  private heads({ value, logA, b, c, state, skip }: Scan, gate: Vector): Vector {
    const { heads, headDim, stateSize, groups, innerSize } = this.config;
    const { dt } = logA;
    if (skip === null) throw new Error("a head adds its own inputs times D");
    const output = this.room("heads", 4 * innerSize);
    const timeStep = [dt.raw.address, dt.bias, ...dt.limit.map(float), logA.aLog];
    const inputs = [value.x.address, b.address, c.address, skip, state.address, stateSize, headDim];
    const args = [...timeStep, ...inputs, logA.output.address, heads / groups, gate.address, output.address];
    this.steps.push({ kind: "head", chunks: heads, args });
    return output;
  }

  /** Room that every layer uses again: what it held is dead when the next layer begins. */
  private room(name: string, bytes: number): Vector {
    const known = this.rooms.get(name);
    if (known) return known;
    const room = this.vector(Math.ceil(bytes / 4));
    this.rooms.set(name, room);
    return room;
  }

  private fill(name: string): WeightFill {
    const fill = this.fills.get(name);
    if (!fill) throw new Error(`the weights file has no ${name}`);
    return fill;
  }

  /** Address of a parameter in float32; 0 for none. */
  private parameter(name: string | null): number {
    if (name === null) return 0;
    const fill = this.fill(name);
    if (fill.dtype !== "f32") throw new Error(`${name} is not in float32`);
    return this.at(fill.values);
  }

  private at({ offset }: { offset: number }): number {
    return this.weights + offset;
  }
}

function expect<K extends Value["kind"]>(value: Value, kind: K): Extract<Value, { kind: K }> {
  if (value.kind === kind) return value as Extract<Value, { kind: K }>;
  throw new Error(`the decoder has no step for a ${value.kind} where mamba2.ts gives it in place of a ${kind}`);
}
