/** Starts jax-js, on its wasm backend on the CPU or on WebGPU through Dawn, and an engine on it. */
import { PicasoError } from "../../errors.js";
import type { Mamba2Config } from "../../model/config.js";
import type { TrainingEngine } from "../engines.js";
import type { EngineOptions, GradientEngine } from "../gradient-engine.js";
import { engineThreads, requestThreads } from "./globals.js";

/**
 * Makes `engine` the backend that arrays are computed on, for the whole process. WebGPU in Node needs the optional
 * package `webgpu`. Throws `unsupported` where there is no such package or device, `conflict` when the number of threads
 * cannot change any more.
 */
export async function startJaxEngine(
  engine: TrainingEngine,
  config: Mamba2Config,
  options: EngineOptions,
): Promise<GradientEngine> {
  await startBackend(engine, options.threads);
  // jax-js looks at its surroundings while it is being loaded, so what uses it comes after.
  const { JaxEngine } = await import("./engine.js");
  return new JaxEngine(config, options);
}

async function startBackend(engine: TrainingEngine, threads?: number): Promise<void> {
  if (threads !== undefined && !requestThreads(threads)) {
    throw new PicasoError("conflict", {
      where: "training engine, threads",
      expected: `${engineThreads()}, as set when this process first started it`,
      found: `${threads}`,
      next: "Start another process for another number of threads.",
    });
  }
  const { defaultDevice, init } = await import("./jax.js");
  if (engine === "webgpu") await provideWebGpu();
  const ready = await init(engine);
  if (!ready.includes(engine)) throw noDevice(engine, "no device that it can use");
  defaultDevice(engine);
}

/** Gives `navigator.gpu` and the WebGPU classes, which browsers have and Node has not. */
async function provideWebGpu(): Promise<void> {
  if ("gpu" in globalThis.navigator) return;
  const webgpu = await import("webgpu").catch((cause) => {
    throw noDevice("webgpu", "the package `webgpu` is not installed", cause);
  });
  Object.assign(globalThis, webgpu.globals);
  Object.defineProperty(globalThis.navigator, "gpu", { value: webgpu.create([]), configurable: true });
}

function noDevice(engine: TrainingEngine, found: string, cause?: unknown): PicasoError {
  return new PicasoError("unsupported", {
    where: `training engine ${engine}`,
    expected: engine === "webgpu" ? "a graphics processor that Dawn can use" : "WebAssembly with SIMD",
    found,
    next: "Install `webgpu` and the graphics driver, or train with the engine `wasm`.",
    cause,
  });
}
