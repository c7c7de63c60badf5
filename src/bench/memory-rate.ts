/**
 * How fast this machine reads memory, on one thread or several: the least time in which anything can look at so many
 * bytes. Each thread reads memory of its own, together far more than the caches hold.
 */
import { once } from "node:events";
import type { Worker } from "node:worker_threads";
import { startThread } from "../thread.js";
import { readMemoryBase64 } from "./read-memory.generated.js";

const PAGE = 65_536;

/** What the reader takes at a time. */
const STEP = 512;

/** A function that reads the first so many bytes of a new memory of `size` bytes. */
export function createReader(size: number): (bytes: number) => void {
  const pages = Math.ceil(size / PAGE);
  const memory = new WebAssembly.Memory({ initial: pages, maximum: pages });
  // Memory that was never written is one page of zeros in the caches.
  new Uint8Array(memory.buffer).fill(1);
  const module = new WebAssembly.Module(Buffer.from(readMemoryBase64, "base64"));
  const { exports } = new WebAssembly.Instance(module, { env: { memory } });
  return exports.readMemory as (bytes: number) => void;
}

export class MemoryReader {
  private constructor(
    /** Read by each {@link read}. */
    readonly bytes: number,
    private readonly own: (bytes: number) => void,
    private readonly workers: Worker[],
  ) {}

  static async create(threads: number, bytes = 256 * 2 ** 20): Promise<MemoryReader> {
    const script = new URL("./memory-worker.js", import.meta.url);
    const part = Math.ceil(bytes / threads / STEP) * STEP;
    const workers = Array.from({ length: threads - 1 }, () => startThread(script, { workerData: { bytes: part } }));
    await Promise.all(workers.map((worker) => once(worker, "message")));
    return new MemoryReader(bytes, createReader(bytes), workers);
  }

  /** Reads all bytes on the caller's thread, or each thread its part of as many. */
  read(how: "one thread" | "all threads"): void {
    if (how === "one thread") {
      this.own(this.bytes);
      return;
    }
    const finished = new Int32Array(new SharedArrayBuffer(4));
    for (const worker of this.workers) worker.postMessage(finished);
    this.own(Math.ceil(this.bytes / (this.workers.length + 1) / STEP) * STEP);
    for (let done = 0; done < this.workers.length; done = Atomics.load(finished, 0)) Atomics.wait(finished, 0, done);
  }

  async dispose(): Promise<void> {
    await Promise.all(this.workers.map((worker) => worker.terminate()));
  }
}
