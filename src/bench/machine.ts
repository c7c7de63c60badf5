/** The limits of the machine, measured in the same run: no time means anything without them. */
import { availableParallelism, cpus, totalmem } from "node:os";
import { GemmProbe } from "./gemm-rate.js";
import { MemoryReader } from "./memory-rate.js";
import { spreadOf } from "./statistics.js";

export interface MachineRates {
  processor: string;
  cores: number;
  memoryBytes: number;
  node: string;
  /** Bytes a second, the fastest of all measurements: limits are what is possible. */
  readOneThread: number;
  readAllThreads: number;
  /** Float32 multiplications and additions a second. */
  gemm: number;
}

/** The highest rate at which memory can be read: on a busy machine more threads may read no faster. */
export function readRate({ readOneThread, readAllThreads }: MachineRates): number {
  return Math.max(readOneThread, readAllThreads);
}

/** Probes that are run between the timings of a benchmark, so that both see the same machine. */
export class MachineProbes {
  private readonly times = { one: [] as number[], all: [] as number[], gemm: [] as number[] };

  private constructor(
    private readonly reader: MemoryReader,
    private readonly gemm: GemmProbe,
  ) {}

  static async create(threads: number): Promise<MachineProbes> {
    const probes = new MachineProbes(
      await MemoryReader.create(availableParallelism()),
      await GemmProbe.create(threads),
    );
    await probes.measure();
    for (const list of Object.values(probes.times)) list.length = 0;
    return probes;
  }

  async measure(): Promise<void> {
    const time = async (list: number[], work: () => void | Promise<void>) => {
      const start = performance.now();
      await work();
      list.push(performance.now() - start);
    };
    await time(this.times.one, () => this.reader.read("one thread"));
    await time(this.times.all, () => this.reader.read("all threads"));
    await time(this.times.gemm, () => this.gemm.run());
  }

  rates(): MachineRates {
    const perSecond = (amount: number, times: number[]) => (1000 * amount) / spreadOf(times).fastest;
    return {
      processor: cpus()[0]?.model ?? "unknown",
      cores: availableParallelism(),
      memoryBytes: totalmem(),
      node: process.version,
      readOneThread: perSecond(this.reader.bytes, this.times.one),
      readAllThreads: perSecond(this.reader.bytes, this.times.all),
      gemm: perSecond(this.gemm.operations, this.times.gemm),
    };
  }

  async dispose(): Promise<void> {
    await Promise.all([this.reader.dispose(), this.gemm.dispose()]);
  }
}
