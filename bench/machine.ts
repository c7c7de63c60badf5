/** What this machine can do at most, to hold measured times against: its rate of matrix products and of reading. */
import asc from "assemblyscript/asc";
import * as ort from "onnxruntime-node";
import { GraphBuilder } from "../src/onnx/graph.js";

/** Reads all of a buffer much larger than the caches on one thread, 64 bytes a step into four registers. */
export async function makeMemoryReader(megabytes: number): Promise<() => void> {
  const source = `
    export function read(end: usize): i32 {
      let a = i32x4.splat(0), b = a, c = a, d = a;
      for (let p: usize = 0; p < end; p += 64) {
        a = v128.xor(a, v128.load(p));
        b = v128.xor(b, v128.load(p, 16));
        c = v128.xor(c, v128.load(p, 32));
        d = v128.xor(d, v128.load(p, 48));
      }
      return i32x4.extract_lane(v128.xor(v128.xor(a, b), v128.xor(c, d)), 0);
    }`;
  const { binary, stderr } = await asc.compileString(source, {
    optimizeLevel: 3,
    runtime: "stub",
    noAssert: true,
    enable: ["simd"],
    initialMemory: megabytes * 16,
  });
  if (binary === null) throw new Error(stderr.toString());
  const { exports } = await WebAssembly.instantiate(await WebAssembly.compile(binary as Uint8Array<ArrayBuffer>));
  const memory = new Uint8Array((exports.memory as WebAssembly.Memory).buffer);
  memory.fill(1);
  return () => (exports.read as (end: number) => number)(memory.length);
}

/** A product of two f32 matrices of this size, 2 size^3 operations, on this many threads. */
export async function makeMatrixProduct(size: number, threads: number): Promise<() => Promise<unknown>> {
  const graph = new GraphBuilder("product", "");
  const factors = ["a", "b"].map((name) => graph.input(name, "f32", [size, size]));
  graph.output("product", graph.node("MatMul", factors), "f32", [size, size]);
  const session = await ort.InferenceSession.create(graph.toBytes(), { intraOpNumThreads: threads });
  const matrix = () => Float32Array.from({ length: size * size }, Math.random);
  const feeds = Object.fromEntries(
    ["a", "b"].map((name) => [name, new ort.Tensor("float32", matrix(), [size, size])] as const),
  );
  return () => session.run(feeds);
}
