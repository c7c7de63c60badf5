/**
 * Weighted sums on several threads: one core does not use all of the memory's bandwidth. Whoever asks for a sum takes
 * part in it and waits for the others only where they have begun: threads that are still starting cost no time. Blocks
 * are independent of each other, so that the number of threads changes no bit of the result. Needs Node.
 */
import { availableParallelism } from "node:os";
import type { Worker } from "node:worker_threads";
import { PicasoError } from "../../errors.js";
import { startThread } from "../../thread.js";
import type { KernelBytes, WeightedSumJob } from "../kernel/job.js";
import { type WeightedSum, type WeightedSumResult, type Workspace, workspaceBytes } from "../kernel/weighted-sum.js";
import { sharedMemory } from "./shared-memory.js";
import { createKernel, FAILED, FINISHED, NOT_FINITE, type SharedJob, takeChunks } from "./sum-chunks.js";

/** Values of a chunk, or a block where that is longer. */
const CHUNK = 65_536;

/** Values, all terms together, below which starting threads costs more than they save. */
const WORTH_THREADS = 8_000_000;

export class SumThreads {
  private readonly kernel: WeightedSum;
  private readonly workers = new Map<Worker, Workspace>();
  private started = false;
  /** Chunks of the last sum that other threads computed. */
  chunksShared = 0;
  private staged = { address: 0, byteLength: 0 };

  /**
   * @param threads Most threads of a sum, that of the caller among them.
   * @param worthThreads Values, all terms together, from which on a sum is shared.
   */
  constructor(
    private readonly threads = availableParallelism(),
    private readonly worthThreads = WORTH_THREADS,
    private readonly shared = sharedMemory,
  ) {
    this.kernel = createKernel(this.workspace());
  }

  /**
   * Computes a job whose terms stand in files, in the kernels' memory or in other shared memory; the caller's thread is
   * busy meanwhile. Throws `bad-argument` for lengths that do not fit, or what reading a file throws.
   */
  run(job: WeightedSumJob): WeightedSumResult {
    const { out, blockLength, terms } = job;
    if (this.threads === 1 || out.length * terms.length < this.worthThreads) return this.kernel.run(job);
    const blocks = out.length / blockLength;
    const blocksPerChunk = Math.max(1, Math.floor(CHUNK / blockLength));
    const chunks = Math.ceil(blocks / blocksPerChunk);
    const control = new Int32Array(new SharedArrayBuffer(16));
    const dataSums = new BigUint64Array(new SharedArrayBuffer(16 * terms.length));
    const own: SharedJob = { job, blocksPerChunk, done: new Uint8Array(chunks), control, dataSums };
    const staged = this.stage(out.byteLength);
    const others = { ...own, job: { ...job, out: staged }, done: new Uint8Array(new SharedArrayBuffer(chunks)) };

    this.startWorkers();
    for (const worker of this.workers.keys()) worker.postMessage(others);
    const collect = this.collector(out, staged, others);
    takeChunks(this.kernel, own, collect);
    for (let done = Atomics.load(control, FINISHED); done < chunks; done = Atomics.load(control, FINISHED)) {
      collect();
      Atomics.wait(control, FINISHED, done);
    }
    collect();
    this.chunksShared = others.done.reduce((sum, done) => sum + done, 0);
    // Once more on this thread, where the error can be seen.
    if (control[FAILED] === 1) return this.kernel.run(job);
    return { finite: control[NOT_FINITE] === 0, dataSums };
  }

  /** A function that copies the chunks that other threads have finished since it was called last. */
  private collector(out: Float32Array, staged: KernelBytes, { done, control, blocksPerChunk, job }: SharedJob) {
    const values = new Float32Array(this.shared.memory.buffer, staged.address, out.length);
    const length = blocksPerChunk * job.blockLength;
    const copied = new Uint8Array(done.length);
    return () => {
      // Orders the reads that follow behind the writes of whoever counted.
      Atomics.load(control, FINISHED);
      for (let chunk = 0; chunk < done.length; chunk++) {
        if (done[chunk] === 0 || copied[chunk] === 1) continue;
        out.set(values.subarray(chunk * length, (chunk + 1) * length), chunk * length);
        copied[chunk] = 1;
      }
    };
  }

  /**
   * Shared memory for what the other threads compute. Results are copied from there: ONNX Runtime takes no arrays in
   * shared memory. A thread that is late finds no chunk left and writes nothing, so that the memory can be used again.
   */
  private stage(byteLength: number): KernelBytes {
    if (this.staged.byteLength < byteLength) {
      if (this.staged.byteLength > 0) this.shared.release(this.staged.address);
      this.staged = { address: this.allocate(byteLength), byteLength };
    }
    return { address: this.staged.address, byteLength };
  }

  private startWorkers(): void {
    if (this.started) return;
    this.started = true;
    const script = new URL("./sum-worker.js", import.meta.url);
    for (let i = 1; i < this.threads; i++) {
      const workspace = this.workspace();
      const worker = startThread(script, { workerData: workspace });
      this.workers.set(worker, workspace);
      // A thread that cannot start is no error: sums are made without it.
      worker.on("error", () => this.forget(worker));
      worker.unref();
    }
  }

  private workspace(): Workspace {
    return { memory: this.shared.memory, address: this.allocate(workspaceBytes()) };
  }

  private allocate(byteLength: number): number {
    const address = this.shared.allocate(byteLength);
    if (address !== null) return address;
    throw new PicasoError("failed", {
      where: "weighted sum",
      expected: `${byteLength} bytes of shared memory`,
      found: "too many states held in memory, or a system without memory",
      next: "Close states that are no longer needed, or compose them from their files.",
    });
  }

  private forget(worker: Worker): void {
    const workspace = this.workers.get(worker);
    if (workspace) this.shared.release(workspace.address);
    this.workers.delete(worker);
  }

  /** Ends the threads; a later {@link run} starts new ones. */
  async dispose(): Promise<void> {
    const workers = [...this.workers.keys()];
    this.started = false;
    await Promise.all(workers.map((worker) => worker.terminate()));
    for (const worker of workers) this.forget(worker);
  }
}

let common: SumThreads | undefined;

/** The threads that all callers share. */
export function sumThreads(): SumThreads {
  common ??= new SumThreads();
  return common;
}
