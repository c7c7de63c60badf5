/** The kernels (decode.as.ts) over the decoder's memory, as each of its threads has them. */

/** What a thread begins with. */
export interface DecodeThread {
  module: WebAssembly.Module;
  memory: WebAssembly.Memory;
  /** Addresses of the control block and of the first step, and the end of the steps. */
  control: number;
  steps: number;
  end: number;
  /** Token that was the last before the thread began. */
  seen: number;
}

interface Kernels {
  /** Takes part in the tokens after generation `seen`; returns when told to stop, or where a thread has failed. */
  work(control: number, steps: number, end: number, seen: number): void;
  /** Takes part in one token and returns how many chunks it computed; -1 where a thread has failed. */
  run(control: number, steps: number, end: number, generation: number): number;
}

export function instantiate({ module, memory }: Pick<DecodeThread, "module" | "memory">): Kernels {
  return new WebAssembly.Instance(module, { env: { memory } }).exports as unknown as Kernels;
}
