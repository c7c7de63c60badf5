/** The engines that gradients can be computed on, each loaded when it is chosen. */
import type { StartEngine } from "./gradient-engine.js";

/**
 * - `onnx`: ONNX Runtime on the CPU, differentiated by our own tape
 * - `onnx-webgpu`: the same on a graphics card, a whole step in one graph
 * - `jax-webgpu`: jax-js on a graphics card through Dawn, with the optional package `webgpu`: a check
 * - `jax-cpu`: jax-js on the CPU, slower than `onnx` and independent of it: a check
 */
export const trainingEngines = ["onnx", "onnx-webgpu", "jax-webgpu", "jax-cpu"] as const;

export type TrainingEngine = (typeof trainingEngines)[number];

/** Loads an engine's code and gives the function that starts it. */
export async function loadEngine(engine: TrainingEngine): Promise<StartEngine> {
  if (engine === "onnx") {
    const { OnnxEngine } = await import("./onnx/engine.js");
    return async (config, options) => new OnnxEngine(config, options);
  }
  if (engine === "onnx-webgpu") {
    const { StepEngine } = await import("./onnx/step-engine.js");
    return (config, options) => StepEngine.start(config, options);
  }
  const { startJaxEngine } = await import("./jax/start.js");
  return (config, options) => startJaxEngine(engine === "jax-webgpu" ? "webgpu" : "wasm", config, options);
}
