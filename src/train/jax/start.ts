/** Starts jax-js, on its wasm backend on the CPU or on WebGPU through Dawn, and an engine on it. */
import { PicasoError } from "../../errors.js";
import type { Mamba2Config } from "../../model/config.js";
import type { EngineOptions, GradientEngine } from "../gradient-engine.js";
import { engineThreads, requestThreads } from "./globals.js";

/** Named apart from its import: with 130 MB it is installed only by those who train on a graphics card. */
const webgpuPackage: string = "webgpu";

/** jax-js's own names of its backends. */
export type JaxBackend = "wasm" | "webgpu";

/**
 * Makes `backend` the one that arrays are computed on, for the whole process. WebGPU in Node needs the optional
 * package `webgpu`. Throws `unsupported` where there is no such package or device, `conflict` when the number of threads
 * cannot change any more.
 */
export async function startJaxEngine(
  backend: JaxBackend,
  config: Mamba2Config,
  options: EngineOptions,
): Promise<GradientEngine> {
  await startBackend(backend, options.threads);
  // jax-js looks at its surroundings while it is being loaded, so what uses it comes after.
  const { JaxEngine } = await import("./engine.js");
  return new JaxEngine(config, options);
}

async function startBackend(backend: JaxBackend, threads?: number): Promise<void> {
  if (threads !== undefined && !requestThreads(threads)) {
    throw new PicasoError("conflict", {
      where: "training engine, threads",
      expected: `${engineThreads()}, as set when this process first started it`,
      found: `${threads}`,
      next: "Start another process for another number of threads.",
    });
  }
  const { defaultDevice, init } = await import("./jax.js");
  if (backend === "webgpu") await provideWebGpu();
  const ready = await init(backend);
  if (!ready.includes(backend)) throw noDevice(backend, "no device that it can use");
  defaultDevice(backend);
}

/** Gives `navigator.gpu` and the WebGPU classes, which browsers have and Node has not. */
async function provideWebGpu(): Promise<void> {
  if ("gpu" in globalThis.navigator) return;
  const webgpu = (await import(webgpuPackage).catch((cause) => {
    throw noDevice("webgpu", "the package `webgpu` is not installed", cause);
  })) as { globals: object; create(options: string[]): object };
  Object.assign(globalThis, webgpu.globals);
  Object.defineProperty(globalThis.navigator, "gpu", { value: webgpu.create([]), configurable: true });
}

function noDevice(backend: JaxBackend, found: string, cause?: unknown): PicasoError {
  return new PicasoError("unsupported", {
    where: `training on jax-js, ${backend}`,
    expected: backend === "webgpu" ? "a graphics processor that Dawn can use" : "WebAssembly with SIMD",
    found,
    next: "Run `npm install webgpu@0.6.2` and see that the graphics driver works, or train on the CPU.",
    cause,
  });
}
