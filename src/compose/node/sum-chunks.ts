/** A weighted sum cut into chunks, which threads take one after the other. Runs in all of them. Needs Node. */
import { readSync } from "node:fs";
import { PicasoError } from "../../errors.js";
import type { KernelBytes, WeightedSumJob } from "../kernel/job.js";
import { WeightedSum, type Workspace } from "../kernel/weighted-sum.js";

/** A job and its bookkeeping, in memory that threads share. */
export interface SharedJob {
  job: WeightedSumJob<Float32Array | KernelBytes>;
  blocksPerChunk: number;
  /** One for each chunk: 1 where its result stands in this job's `out`. */
  done: Uint8Array;
  /** See the constants below. */
  control: Int32Array;
  /** [terms, 2]: the checksums A and B of what was read from each term's file. */
  dataSums: BigUint64Array;
}

/** Places in `control`: chunks taken, chunks finished, whether a chunk failed, whether a value is not finite. */
export const TAKEN = 0;
export const FINISHED = 1;
export const FAILED = 2;
export const NOT_FINITE = 3;

export function createKernel(workspace: Workspace): WeightedSum {
  return new WeightedSum({ workspace, readFile: readFully });
}

/**
 * Sums chunks until none is left, and calls `afterEach`. A chunk that fails is marked, for whoever started the job to
 * find out why.
 */
export function takeChunks(
  kernel: WeightedSum,
  { job, blocksPerChunk, done, control, dataSums }: SharedJob,
  afterEach = () => {},
): void {
  const blocks = job.out.byteLength / 4 / job.blockLength;
  for (let chunk = Atomics.add(control, TAKEN, 1); chunk < done.length; chunk = Atomics.add(control, TAKEN, 1)) {
    try {
      const from = chunk * blocksPerChunk;
      const result = kernel.run(job, from, Math.min(blocks, from + blocksPerChunk));
      done[chunk] = 1;
      if (!result.finite) Atomics.store(control, NOT_FINITE, 1);
      for (const [i, sum] of result.dataSums.entries()) if (sum !== 0n) Atomics.add(dataSums, i, sum);
    } catch {
      Atomics.store(control, FAILED, 1);
    }
    Atomics.add(control, FINISHED, 1);
    Atomics.notify(control, FINISHED);
    afterEach();
  }
}

function readFully(fd: number, target: Uint8Array, position: number): void {
  for (let done = 0; done < target.length; ) {
    const count = readSync(fd, target, done, target.length - done, position + done);
    if (count === 0) {
      throw new PicasoError("bad-file", {
        where: "a state file",
        expected: `${target.length} bytes at ${position}`,
        found: `its end at ${position + done}: it changed while it was read`,
        next: "Run `picaso verify`.",
      });
    }
    done += count;
  }
}
