/**
 * Weighted sums on several threads: one core does not use all of the memory's bandwidth. Whoever asks for a sum takes
 * part in it and waits for the others only where they have begun: threads that are still starting cost no time. Blocks
 * are independent of each other, so that the number of threads changes no bit of the result. Needs Node.
 */
import { availableParallelism } from "node:os";
import { Worker } from "node:worker_threads";
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

  /** @param threads Most threads of a sum, that of the caller among them. */
  constructor(private readonly threads = availableParallelism()) {}

  /**
   * Computes a job whose result, and whose terms unless in files, stand in shared memory; the caller's thread is busy
   * meanwhile. Throws `bad-argument` for lengths that do not fit, or what reading a file throws.
   */
  run(job: WeightedSumJob): WeightedSumResult {
    const values = job.out.length * job.terms.length;
    if (this.threads === 1 || values < WORTH_THREADS) return this.kernel.run(job);
    const blocks = job.out.length / job.blockLength;
    const blocksPerChunk = Math.max(1, Math.floor(CHUNK / job.blockLength));
    const shared: SharedJob = {
      job,
      chunks: Math.ceil(blocks / blocksPerChunk),
      blocksPerChunk,
      control: new Int32Array(new SharedArrayBuffer(16)),
      dataSums: new BigUint64Array(new SharedArrayBuffer(16 * job.terms.length)),
    };
    this.workers ??= this.startWorkers();
    for (const worker of this.workers) worker.postMessage(shared);
    takeChunks(this.kernel, shared);
    const { control, chunks, dataSums } = shared;
    for (let done = Atomics.load(control, FINISHED); done < chunks; done = Atomics.load(control, FINISHED)) {
      Atomics.wait(control, FINISHED, done);
    }
    // Once more on this thread, where the error can be seen.
    if (control[FAILED] === 1) return this.kernel.run(job);
    return {
      finite: control[NOT_FINITE] === 0,
      dataSums: job.terms.map((_, k) => ({ a: dataSums[2 * k]!, b: dataSums[2 * k + 1]! })),
    };
  }

  private startWorkers(): Set<Worker> {
    const workers = new Set(Array.from({ length: this.threads - 1 }, createWorker));
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

function createWorker(): Worker {
  // From the sources, tsx translates the worker's too.
  const fromSource = import.meta.url.endsWith(".ts");
  const script = new URL(fromSource ? "./sum-worker.ts" : "./sum-worker.js", import.meta.url);
  return new Worker(script, fromSource ? { execArgv: ["--import", "tsx"] } : {});
}

let common: SumThreads | undefined;

/** The threads that all callers share. */
export function sumThreads(): SumThreads {
  common ??= new SumThreads();
  return common;
}
