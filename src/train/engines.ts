/** The engines that gradients can be computed on, each loaded when it is chosen. */
import { PicasoError } from "../errors.js";
import type { Mamba2Config } from "../model/config.js";
import type { StartEngine } from "./gradient-engine.js";

/**
 * - `onnx`: ONNX Runtime on the CPU, differentiated by our own tape
 * - `onnx-webgpu`: the same on a graphics card, a whole step in one graph
 * - `jax-webgpu`: jax-js on a graphics card through Dawn, with the optional package `webgpu`: a check
 * - `jax-cpu`: jax-js on the CPU, slower than `onnx` and independent of it: a check
 */
export const trainingEngines = ["onnx", "onnx-webgpu", "jax-webgpu", "jax-cpu"] as const;

export type TrainingEngine = (typeof trainingEngines)[number];

/** Loads an engine's code and gives the function that starts it, which throws `unsupported` for grouped norms. */
export async function loadEngine(engine: TrainingEngine): Promise<StartEngine> {
  const start = await engineOf(engine);
  return async (config, options) => {
    assertOneNorm(config);
    return start(config, options);
  };
}

/** No engine differentiates grouped norms, and transformers could not open what would be trained. */
function assertOneNorm({ normGroups = 1 }: Mamba2Config): void {
  if (normGroups === 1) return;
  throw new PicasoError("unsupported", {
    where: "training, norm_groups",
    expected: "one gated norm over the whole inner width",
    found: `${normGroups}, as in mamba_ssm's checkpoints with several groups`,
    next: "Train a model with one group.",
  });
}

async function engineOf(engine: TrainingEngine): Promise<StartEngine> {
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
