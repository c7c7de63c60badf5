import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as ort from "onnxruntime-node";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { GraphBuilder } from "./graph.js";

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "picaso-graph-"));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

/** Writes the graph and its external weights, and runs it. */
async function run(graph: GraphBuilder, weights: Record<string, ArrayBufferView>, feeds: Record<string, ort.Tensor>) {
  const data = new Uint8Array(graph.externalBytes);
  for (const { name, offset, byteLength } of graph.externalWeights) {
    const { buffer, byteOffset } = weights[name]!;
    data.set(new Uint8Array(buffer, byteOffset, byteLength), offset);
  }
  await writeFile(join(folder, "weights.bin"), data);
  await writeFile(join(folder, "graph.onnx"), graph.toBytes());
  const session = await ort.InferenceSession.create(join(folder, "graph.onnx"), { logSeverityLevel: 3 });
  try {
    return await session.run(feeds);
  } finally {
    await session.release();
  }
}

describe("a graph on ONNX Runtime", () => {
  test("multiplies by external weights, adds a constant, and gives several outputs", async () => {
    const graph = new GraphBuilder("test", "weights.bin");
    const x = graph.input("x", "f32", ["rows", 3]);
    const scale = graph.weight("scale", "f32", [3]);
    const matrix = graph.weight("matrix", "f32", [3, 2]);
    const product = graph.node("MatMul", [graph.node("Mul", [x, scale]), matrix]);
    const shifted = graph.node("Add", [product, graph.constant("f32", [0.5], [])]);
    const [left, right] = graph.nodes("Split", [shifted, graph.constant("i64", [1, 1])], 2, {
      attributes: { axis: -1 },
    });
    graph.output("left", left!, "f32", ["rows", 1]);
    graph.output("right", right!, "f32", ["rows", 1]);
    const weights = { scale: Float32Array.of(1, 10, 100), matrix: Float32Array.of(1, 2, 3, 4, 5, 6) };
    const feeds = { x: new ort.Tensor("float32", Float32Array.of(1, 1, 1, 2, 0, -1), [2, 3]) };
    const results = await run(graph, weights, feeds);
    expect(Array.from(results.left!.data as Float32Array)).toEqual([531.5, -497.5]);
    expect(Array.from(results.right!.data as Float32Array)).toEqual([642.5, -595.5]);
    expect(results.left!.dims).toEqual([2, 1]);
  });

  test("runs one branch of two, which use values and constants of the graph", async () => {
    const graph = new GraphBuilder("test", "weights.bin");
    const x = graph.input("x", "f32", ["rows"]);
    const y = graph.input("y", "f32", ["columns"]);
    const one = graph.constant("f32", [1], []);
    const hasRows = graph.node("Greater", [graph.node("Size", [x]), graph.constant("i64", [0], [])]);
    const chosen = graph.choose(
      hasRows,
      () => graph.node("Add", [graph.node("Mul", [x, x]), one]),
      () => graph.node("Sub", [y, one]),
    );
    graph.output("chosen", graph.node("Neg", [chosen]), "f32", ["any"]);
    const choose = async (x: number[], y: number[]) => {
      const tensor = (values: number[]) => new ort.Tensor("float32", Float32Array.from(values), [values.length]);
      return Array.from((await run(graph, {}, { x: tensor(x), y: tensor(y) })).chosen!.data as Float32Array);
    };
    expect(await choose([2, 3], [7])).toEqual([-5, -10]);
    expect(await choose([], [7])).toEqual([-6]);
  });

  test("takes attributes of each kind, other operator sets, and optional inputs left out", async () => {
    const graph = new GraphBuilder("test", "weights.bin");
    const x = graph.input("x", "f32", ["rows", 2]);
    const leaky = graph.node("LeakyRelu", [x], { floats: { alpha: 0.25 } });
    const gelu = graph.node("QuickGelu", [x], { domain: "com.microsoft", floats: { alpha: 1 } });
    const turned = graph.node("Transpose", [leaky], { attributes: { perm: [1, 0] } });
    const clipped = graph.node("Clip", [turned, null, graph.constant("f32", [1], [])]);
    const padded = graph.node("Pad", [gelu, graph.constant("i64", [0, 0, 0, 1]), graph.constant("f32", [7], [])], {
      attributes: { mode: "constant" },
    });
    graph.output("turned", clipped, "f32", [2, "rows"]);
    graph.output("padded", padded, "f32", ["rows", 3]);
    const feeds = { x: new ort.Tensor("float32", Float32Array.of(-4, 3), [1, 2]) };
    const results = await run(graph, {}, feeds);
    expect(Array.from(results.turned!.data as Float32Array)).toEqual([-1, 1]);
    const silu = (value: number) => value / (1 + Math.exp(-value));
    const padding = Array.from(results.padded!.data as Float32Array);
    for (const [i, expected] of [silu(-4), silu(3), 7].entries()) expect(padding[i]).toBeCloseTo(expected, 6);
  });

  test("reads integer and byte weights", async () => {
    const graph = new GraphBuilder("test", "weights.bin");
    const at = graph.input("at", "i64", [1]);
    const table = graph.weight("table", "u8", [5]);
    const order = graph.weight("order", "i64", [3]);
    const picked = graph.node("Gather", [table, graph.node("Gather", [order, at])]);
    graph.output("picked", picked, "u8", [1]);
    const weights = { table: Uint8Array.of(10, 11, 12, 13, 14), order: BigInt64Array.of(4n, 0n, 2n) };
    const results = await run(graph, weights, { at: new ort.Tensor("int64", BigInt64Array.of(2n), [1]) });
    expect(results.picked!.data).toEqual(Uint8Array.of(12));
  });
});

describe("external weights", () => {
  test("start on cache lines and do not overlap", () => {
    const graph = new GraphBuilder("test", "weights.bin");
    graph.weight("a", "u8", [3, 7]);
    graph.weight("b", "f32", [16]);
    graph.weight("c", "i64", []);
    expect(graph.externalWeights).toEqual([
      { name: "a", offset: 0, byteLength: 21 },
      { name: "b", offset: 64, byteLength: 64 },
      { name: "c", offset: 128, byteLength: 8 },
    ]);
    expect(graph.externalBytes).toBe(136);
  });

  test("stay out of the model file", () => {
    const graph = new GraphBuilder("test", "weights.bin");
    graph.weight("large", "f32", [1 << 16, 1 << 15]);
    expect(graph.externalBytes).toBe(2 ** 33);
    expect(graph.toBytes().length).toBeLessThan(1000);
  });
});

describe("names", () => {
  test("given twice are refused, whatever they name", () => {
    const graph = new GraphBuilder("test", "weights.bin");
    const x = graph.input("x", "f32", [1]);
    graph.weight("w", "f32", [1]);
    graph.output("y", x, "f32", [1]);
    expect(() => graph.input("x", "i64", [2])).toThrow(/already has a value called x/);
    expect(() => graph.weight("x", "f32", [1])).toThrow(/called x/);
    expect(() => graph.input("w", "f32", [1])).toThrow(/called w/);
    expect(() => graph.output("y", x, "f32", [1])).toThrow(/called y/);
    expect(graph.externalWeights.map(({ name }) => name)).toEqual(["w"]);
  });

  test("of nodes avoid those that are taken", () => {
    const graph = new GraphBuilder("test", "weights.bin");
    const x = graph.input("x", "f32", [1]);
    const outputs = Array.from({ length: 50 }, () => graph.node("Relu", [x]).name);
    expect(new Set([...outputs, "x"]).size).toBe(51);
  });

  test("of equal constants are one, of others are not", () => {
    const graph = new GraphBuilder("test", "weights.bin");
    const one = graph.constant("f32", [1]);
    expect(graph.constant("f32", [1])).toBe(one);
    expect(graph.constant("i64", [1])).not.toBe(one);
    expect(graph.constant("f32", [1], [])).not.toBe(one);
    expect(graph.constant("f32", [1, 1])).not.toBe(one);
  });

  test("of nodes do not collide with an input named like one", async () => {
    const graph = new GraphBuilder("test", "weights.bin");
    const x = graph.input("Relu_1", "f32", [1]);
    const y = graph.node("Relu", [x]);
    graph.output("y", y, "f32", [1]);
    const feeds = { Relu_1: new ort.Tensor("float32", Float32Array.of(-2), [1]) };
    expect(Array.from((await run(graph, {}, feeds)).y!.data as Float32Array)).toEqual([0]);
  });
});
