/** How fast the WebGPU engine multiplies float32 matrices, by the operators that a graph could be made of. */
import * as ort from "onnxruntime-node";
import { createSession, smallGraph } from "../src/model/webgpu/engine.js";

/** Products in one run, each of the result of the one before, so that transfers count little. */
const chain = 8;

export interface ProductRate {
  rows: number;
  width: number;
  operator: "Gemm" | "MatMul";
  /** Multiplications and additions, 10^9 a second. */
  rate: number;
}

/** `rows` x `width` times `width` x `width`, for a decoded token and for passages; until the deadline. */
export async function webGpuProductRates(
  deadline: number,
  onRate: (rate: ProductRate) => void,
): Promise<ProductRate[]> {
  const rates: ProductRate[] = [];
  for (const [rows, width] of [
    [1, 1024],
    [128, 1024],
    [512, 1024],
    [1024, 2048],
    [4096, 2048],
  ] as const) {
    for (const operator of ["Gemm", "MatMul"] as const) {
      const times = await timesOf(rows, width, operator, deadline);
      if (times === null) return rates;
      const rate = (chain * 2 * rows * width * width) / Math.min(...times) / 1e6;
      rates.push({ rows, width, operator, rate });
      onRate(rates.at(-1)!);
    }
  }
  return rates;
}

async function timesOf(rows: number, width: number, operator: string, deadline: number): Promise<number[] | null> {
  if (performance.now() > deadline) return null;
  const graph = smallGraph("products", (graph) => {
    let x = graph.input("x", "f32", [rows, width]);
    const matrix = graph.input("matrix", "f32", [width, width]);
    const options = operator === "Gemm" ? { attributes: { transB: 1 } } : {};
    for (let i = 0; i < chain; i++) x = graph.node(operator, [x, matrix], options);
    graph.output("sum", graph.node("ReduceSum", [x], { attributes: { keepdims: 0 } }), "f32", []);
  });
  const session = await createSession(graph, "cpu");
  const upload = await createSession(uploadGraph(), "gpu-buffer");
  const onDevice = async (shape: [number, number]) => {
    const values = Float32Array.from({ length: shape[0] * shape[1] }, (_, i) => ((i % 17) - 8) / 1e3);
    return (await upload.run({ x: new ort.Tensor("float32", values, shape) })).y as ort.Tensor;
  };
  const x = await onDevice([rows, width]);
  const matrix = await onDevice([width, width]);
  const times: number[] = [];
  for (let round = 0; round < 6; round++) {
    const start = performance.now();
    await session.run({ x, matrix });
    times.push(performance.now() - start);
    if (performance.now() > deadline) break;
  }
  for (const tensor of [x, matrix]) tensor.dispose();
  await session.release();
  await upload.release();
  // The first compiled the shaders.
  return times.length > 1 ? times.slice(1) : null;
}

/** Brings a matrix to the device. */
function uploadGraph() {
  return smallGraph("upload", (graph) => {
    const x = graph.input("x", "f32", ["r", "c"]);
    graph.output("y", graph.node("Add", [x, x]), "f32", ["r", "c"]);
  });
}
