/** The engines that gradients can be computed on, loaded when they are chosen. */
import type { StartEngine } from "./gradient-engine.js";

/**
 * - `wasm`: jax-js on the CPU
 * - `webgpu`: jax-js on a graphics card through Dawn, with the optional package `webgpu`
 */
export const trainingEngines = ["wasm", "webgpu"] as const;

export type TrainingEngine = (typeof trainingEngines)[number];

/** Loads an engine's code and gives the function that starts it. */
export async function loadEngine(engine: TrainingEngine): Promise<StartEngine> {
  const { startJaxEngine } = await import("./jax/start.js");
  return (config, options) => startJaxEngine(engine, config, options);
}
