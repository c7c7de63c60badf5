/** WebAssembly modules that stand in the package as base64, and the memories they work in. */
import { PicasoError } from "../errors.js";

const compiled = new Map<string, WebAssembly.Module>();

/**
 * The functions of a module, working in `memory`; `modules` are the same one for memory of one thread and for memory
 * that threads share. Throws `unsupported`, naming `what`, where there is no WebAssembly with SIMD.
 */
export function instantiate(
  modules: { own: string; shared: string },
  memory: WebAssembly.Memory,
  what: string,
): WebAssembly.Exports {
  try {
    const isShared = typeof SharedArrayBuffer !== "undefined" && memory.buffer instanceof SharedArrayBuffer;
    return new WebAssembly.Instance(compile(isShared ? modules.shared : modules.own), { env: { memory } }).exports;
  } catch (cause) {
    throw new PicasoError("unsupported", {
      where: what,
      expected: "WebAssembly with SIMD",
      found: String(cause),
      next: "Use Node 20 or a browser of 2023 or later.",
      cause,
    });
  }
}

function compile(base64: string): WebAssembly.Module {
  let module = compiled.get(base64);
  if (module === undefined) {
    module = new WebAssembly.Module(Uint8Array.from(atob(base64), (char) => char.charCodeAt(0)));
    compiled.set(base64, module);
  }
  return module;
}
