/** ONNX Runtime's WebGPU engine: whether there is one here, and sessions on it. */
import * as ort from "onnxruntime-node";
import { PicasoError } from "../../errors.js";
import { GraphBuilder, type Value } from "../../onnx/graph.js";

const sessionOptions: ort.InferenceSession.SessionOptions = { executionProviders: ["webgpu"], logSeverityLevel: 3 };

/** A session of a small graph; where its outputs go: into the memory of the device, or to the CPU. */
export function createSession(graph: GraphBuilder, outputs: "gpu-buffer" | "cpu"): Promise<ort.InferenceSession> {
  return ort.InferenceSession.create(graph.toBytes(), { ...sessionOptions, preferredOutputLocation: outputs });
}

/** A graph of its own, without weights. */
export function smallGraph(name: string, build: (graph: GraphBuilder) => void): GraphBuilder {
  const graph = new GraphBuilder(name, "");
  build(graph);
  return graph;
}

/** Rows `from` to `to` of `axis`. */
export function sliceOf(graph: GraphBuilder, x: Value, axis: number, from: number, to: number): Value {
  const [start, end, axes] = [from, to, axis].map((value) => graph.constant("i64", [value])) as [Value, Value, Value];
  return graph.node("Slice", [x, start, end, axes]);
}

/** Doubles a number on the device. Throws `unsupported`, with what is missing, where that cannot be done. */
export async function assertWebGpu(): Promise<void> {
  const graph = smallGraph("probe", (graph) => {
    const x = graph.input("x", "f32", [1]);
    graph.output("y", graph.node("Add", [x, x]), "f32", [1]);
  });
  let doubled: unknown;
  try {
    const session = await createSession(graph, "cpu");
    const { y } = await session.run({ x: new ort.Tensor("float32", Float32Array.of(21), [1]) });
    doubled = y?.data[0];
    await session.release();
  } catch (cause) {
    throw noWebGpu(reasonOf(cause), cause);
  }
  if (doubled !== 42) throw noWebGpu(`one that doubles 21 to ${doubled}`);
}

function noWebGpu(found: string, cause?: unknown): PicasoError {
  return new PicasoError("unsupported", {
    where: "device webgpu",
    expected: "a graphics processor that ONNX Runtime's WebGPU engine can use",
    found,
    next:
      process.platform === "linux"
        ? "Install the card's Vulkan driver and the loader libvulkan.so.1 (Debian: `apt install libvulkan1`), or use --device cpu."
        : "Update the graphics driver, or use --device cpu.",
    cause,
  });
}

/** The engine's messages begin with places in its source. */
function reasonOf(cause: unknown): string {
  const message = cause instanceof Error ? cause.message : String(cause);
  return message.split("was false. ").at(-1)!.trim();
}
