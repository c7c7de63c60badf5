/** Starts the engine that training computes on: jax-js's wasm backend on the CPU, or WebGPU through Dawn. */
import { PicasoError } from "../errors.js";
import { engineThreads, requestThreads } from "./engine-globals.js";

export type TrainingEngine = "wasm" | "webgpu";

export interface EngineOptions {
  /** Threads of the wasm engine; fixed by the first start of the process. @default all cores */
  threads?: number;
}

/**
 * Makes `engine` the one that arrays are computed on. WebGPU in Node needs the optional package `webgpu`.
 * Throws `unsupported` where there is no such package or device, `conflict` when the number of threads cannot change
 * any more.
 */
export async function startEngine(engine: TrainingEngine, { threads }: EngineOptions = {}): Promise<void> {
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
