/**
 * Weighted sums of large arrays by the wasm kernel (weighted-sum.as.ts), at the speed of memory. The kernel sees only
 * its own small memory: a tile of each array is copied in, summed and copied out, then the next tile. How the tiles
 * are copied decides the speed; the constants and helpers below say what was measured.
 */
import { PicasoError } from "../../errors.js";
import { kernelBase64 } from "./kernel.generated.js";

/**
 * out = sum_k weights_k inputs_k, where the weight is constant over each block of `blockLength` elements. Blocks are
 * independent of each other: ranges of them can be summed by several instances at once.
 */
export interface WeightedSumJob {
  /** n >= 1 arrays of blocks x blockLength elements: float32, or the bits of bfloat16. */
  inputs: readonly Float32Array[] | readonly Uint16Array[];
  /** [blocks, n] */
  weights: Float32Array;
  blockLength: number;
  /** blocks x blockLength elements; not one of the inputs. */
  out: Float32Array;
}

/**
 * Elements of a tile: half a megabyte of float32. Long copies from one array are faster than short ones from all in
 * turn (7 GB/s in pieces of 4 KB, 21 in pieces this long), though tiles of this size leave the second-level cache.
 */
const TILE = 131072;

/** Inputs that are in the kernel's memory at a time; with the result 3 MB. */
const GROUP = 5;

const PAGE = 4096;

/** Entries of the kernel's table of terms: address and weight, 8 bytes. */
const TERM = 8;

type SumFunction = (out: number, terms: number, n: number, begin: number, end: number, add: number) => void;

export class WeightedSum {
  /** The kernel's memory, as bytes and as numbers. */
  private readonly bytes: Uint8Array;
  private readonly floats: Float32Array;
  private readonly addresses: Uint32Array;
  private readonly sumF32: SumFunction;
  private readonly sumBf16: SumFunction;

  /** An instance with its own memory. The two sizes are for tests; they do not change a bit of any result. */
  constructor(
    private readonly tile = TILE,
    private readonly group = GROUP,
  ) {
    const pages = Math.ceil((this.slotStart(0) + (group + 1) * this.slotBytes()) / 65536);
    const memory = new WebAssembly.Memory({ initial: pages, maximum: pages });
    const { exports } = new WebAssembly.Instance(compile(), { env: { memory } });
    this.bytes = new Uint8Array(memory.buffer);
    this.floats = new Float32Array(memory.buffer);
    this.addresses = new Uint32Array(memory.buffer);
    this.sumF32 = exports.sumF32 as SumFunction;
    this.sumBf16 = exports.sumBf16 as SumFunction;
  }

  /**
   * Writes the blocks from `fromBlock` up to, not including, `toBlock` (default: all) of the result. Each element is
   * summed in float32 in the order of the inputs. Throws `bad-argument` for lengths that do not fit.
   */
  run(job: WeightedSumJob, fromBlock = 0, toBlock = job.out.length / job.blockLength): void {
    checkJob(job, fromBlock, toBlock);
    const { weights, blockLength } = job;
    const n = job.inputs.length;
    const isF32 = job.inputs[0] instanceof Float32Array;
    const sum = isF32 ? this.sumF32 : this.sumBf16;
    const width = isF32 ? 4 : 2;
    // As bytes, so that one piece of machine code copies both kinds.
    const inputs = job.inputs.map(asBytes);
    const out = asBytes(job.out);
    for (let tile = fromBlock * blockLength; tile < toBlock * blockLength; tile += this.tile) {
      const tileEnd = Math.min(tile + this.tile, toBlock * blockLength);
      const result = this.slot(0, out, tile * 4);
      for (let first = 0; first < n; first += this.group) {
        const count = Math.min(this.group, n - first);
        for (let k = 0; k < count; k++) this.copyIn(k, inputs[first + k]!, tile * width, tileEnd * width);
        for (let at = tile; at < tileEnd; ) {
          const block = Math.floor(at / blockLength);
          const end = Math.min((block + 1) * blockLength, tileEnd);
          for (let k = 0; k < count; k++) this.floats[2 * k + 1] = weights[block * n + first + k]!;
          sum(result, 0, count, at - tile, end - tile, first > 0 ? 1 : 0);
          at = end;
        }
      }
      out.set(this.bytes.subarray(result, result + (tileEnd - tile) * 4), tile * 4);
    }
  }

  /** Copies bytes of term k into its slot and enters the address in the table. */
  private copyIn(k: number, input: Uint8Array, from: number, to: number): void {
    const address = this.slot(k + 1, input, from);
    this.touchPages(input, from, to);
    this.bytes.set(input.subarray(from, to), address);
    this.addresses[2 * k] = address;
  }

  /**
   * Reads one byte of each page, which makes the copy that follows up to 30 % faster: the address translations are
   * then fetched side by side, not one after the other.
   */
  private touchPages(array: Uint8Array, from: number, to: number): void {
    let touched = 0;
    for (let i = from; i < to; i += PAGE) touched += array[i]!;
    // Kept, behind the table, so that the loop is not optimized away.
    this.floats[2 * this.group] = touched;
  }

  /**
   * Address in slot `index` for the bytes of `array` from `from` on: half a page away from them, modulo pages. A copy
   * to just behind its source modulo pages waits for its own writes and is up to five times slower.
   */
  private slot(index: number, array: Uint8Array, from: number): number {
    // Large buffers begin 0 to 64 bytes into a page.
    const wanted = array.byteOffset + from + PAGE / 2;
    const start = this.slotStart(index);
    return start + ((wanted - start) & (PAGE - 64));
  }

  /** Slot 0 is for the result, the others for terms. Before them stand the table and one more number. */
  private slotStart(index: number): number {
    return Math.ceil(((this.group + 1) * TERM) / 64) * 64 + index * this.slotBytes();
  }

  private slotBytes(): number {
    return Math.ceil((this.tile * 4) / 64) * 64 + PAGE;
  }
}

let shared: WeightedSum | undefined;

/** {@link WeightedSum.run} of all blocks, on one instance that all callers share. */
export function weightedSum(job: WeightedSumJob): void {
  shared ??= new WeightedSum();
  shared.run(job);
}

function asBytes(array: Float32Array | Uint16Array): Uint8Array {
  return new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
}

function checkJob({ inputs, weights, blockLength, out }: WeightedSumJob, fromBlock: number, toBlock: number): void {
  const blocks = out.length / blockLength;
  if (inputs.length === 0) throw badArgument("inputs", "one or more", "none");
  if (!Number.isInteger(blocks)) throw badArgument("out", `whole blocks of ${blockLength}`, `${out.length} elements`);
  if (!Number.isInteger(fromBlock) || !Number.isInteger(toBlock) || fromBlock < 0 || toBlock > blocks) {
    throw badArgument("blocks", `whole numbers from 0 to ${blocks}`, `${fromBlock} to ${toBlock}`);
  }
  for (const [k, input] of inputs.entries()) {
    if (input.length !== out.length) throw badArgument(`input ${k}`, `${out.length} elements`, `${input.length}`);
  }
  const expected = blocks * inputs.length;
  if (weights.length !== expected) throw badArgument("weights", `${expected} values`, `${weights.length}`);
}

function compile(): WebAssembly.Module {
  try {
    return new WebAssembly.Module(Uint8Array.from(atob(kernelBase64), (char) => char.charCodeAt(0)));
  } catch (cause) {
    throw new PicasoError("unsupported", {
      where: "composition kernel",
      expected: "WebAssembly with SIMD",
      found: String(cause),
      next: "Use Node 20 or a browser of 2023 or later.",
      cause,
    });
  }
}

function badArgument(where: string, expected: string, found: string): PicasoError {
  const next = "Pass arrays of one shape, with one weight for each block and input.";
  return new PicasoError("bad-argument", { where: `weighted sum, ${where}`, expected, found, next });
}
