/**
 * Weighted sums on several threads: one core does not use all of the memory's bandwidth. Whoever asks for a sum takes
 * part in it and waits for the others only where they have begun: threads that are still starting cost no time. Blocks
 * are independent of each other, so that the number of threads changes no bit of the result. Needs Node.
 */
import { availableParallelism } from "node:os";
import type { Worker } from "node:worker_threads";
import { startThread } from "../../thread.js";
import type { WeightedSumJob } from "../kernel/job.js";
import type { WeightedSum, WeightedSumResult } from "../kernel/weighted-sum.js";
import { createKernel, FAILED, FINISHED, NOT_FINITE, type SharedJob, takeChunks } from "./sum-chunks.js";

/** Values of a chunk: a tile of the kernel, or a block where that is longer. */
const CHUNK = 131072;

/** Values, all terms together, below which starting threads costs more than they save. */
const WORTH_THREADS = 8_000_000;

export class SumThreads {
  private readonly kernel: WeightedSum = createKernel();
  private workers: Set<Worker> | null = null;
  /** Chunks of the last sum that other threads computed. */
  chunksShared = 0;
  private staged: Float32Array = new Float32Array(0);

  /**
   * @param threads Most threads of a sum, that of the caller among them.
   * @param worthThreads Values, all terms together, from which on a sum is shared.
   */
  constructor(
    private readonly threads = availableParallelism(),
    private readonly worthThreads = WORTH_THREADS,
  ) {}

  /**
   * Computes a job whose terms stand in files or in shared memory; the caller's thread is busy meanwhile. Throws
   * `bad-argument` for lengths that do not fit, or what reading a file throws.
   */
  run(job: WeightedSumJob): WeightedSumResult {
    const values = job.out.length * job.terms.length;
    if (this.threads === 1 || values < this.worthThreads) return this.kernel.run(job);
    const blocks = job.out.length / job.blockLength;
    const blocksPerChunk = Math.max(1, Math.floor(CHUNK / job.blockLength));
    const chunks = Math.ceil(blocks / blocksPerChunk);
    const control = new Int32Array(new SharedArrayBuffer(16));
    const dataSums = new BigUint64Array(new SharedArrayBuffer(16 * job.terms.length));
    const own: SharedJob = { job, blocksPerChunk, done: new Uint8Array(chunks), control, dataSums };
    const staged = this.stage(job.out.length);
    const others = { ...own, job: { ...job, out: staged }, done: new Uint8Array(new SharedArrayBuffer(chunks)) };

    this.workers ??= this.startWorkers();
    for (const worker of this.workers) worker.postMessage(others);
    takeChunks(this.kernel, own);
    for (let done = Atomics.load(control, FINISHED); done < chunks; done = Atomics.load(control, FINISHED)) {
      Atomics.wait(control, FINISHED, done);
    }
    // Once more on this thread, where the error can be seen.
    if (control[FAILED] === 1) return this.kernel.run(job);
    const length = blocksPerChunk * job.blockLength;
    this.chunksShared = others.done.reduce((sum, done) => sum + done, 0);
    for (const [chunk, done] of others.done.entries()) {
      if (done) job.out.set(staged.subarray(chunk * length, (chunk + 1) * length), chunk * length);
    }
    return {
      finite: control[NOT_FINITE] === 0,
      dataSums: job.terms.map((_, k) => ({ a: dataSums[2 * k]!, b: dataSums[2 * k + 1]! })),
    };
  }

  /**
   * Shared memory for what the other threads compute. Results are copied from there: ONNX Runtime takes no arrays in
   * shared memory. A thread that is late finds no chunk left and writes nothing, so that the memory can be used again.
   */
  private stage(length: number): Float32Array {
    if (this.staged.length < length) this.staged = new Float32Array(new SharedArrayBuffer(4 * length));
    return this.staged.subarray(0, length);
  }

  private startWorkers(): Set<Worker> {
    const script = new URL("./sum-worker.js", import.meta.url);
    const workers = new Set(Array.from({ length: this.threads - 1 }, () => startThread(script)));
    for (const worker of workers) {
      // A thread that cannot start is no error: sums are made without it.
      worker.on("error", () => workers.delete(worker));
      worker.unref();
    }
    return workers;
  }

  /** Ends the threads; a later {@link run} starts new ones. */
  async dispose(): Promise<void> {
    const { workers } = this;
    this.workers = null;
    await Promise.all([...(workers ?? [])].map((worker) => worker.terminate()));
  }
}

let common: SumThreads | undefined;

/** The threads that all callers share. */
export function sumThreads(): SumThreads {
  common ??= new SumThreads();
  return common;
}
