/**
 * Weighted sums of large arrays by the wasm kernel (weighted-sum.as.ts), at the speed of memory. The kernel sees only
 * its own small memory: a tile of each array is brought in, from memory or straight from a file, summed and copied out,
 * then the next tile. How the tiles are copied decides the speed; the constants and helpers below say what was measured.
 */
import { PicasoError } from "../../errors.js";
import { addPart, type DataSum, WordSummer, wordsIn } from "../../state/data-sum.js";
import { bytesPerValue, checkJob, type FileBytes, type Term, type TermBytes, type WeightedSumJob } from "./job.js";
import { kernelBase64 } from "./kernel.generated.js";

/**
 * Values of a tile: half a megabyte of float32. Long copies from one array are faster than short ones from all in
 * turn (7 GB/s in pieces of 4 KB, 21 in pieces this long), though tiles of this size leave the second-level cache.
 */
const TILE = 131072;

/** Terms that are in the kernel's memory at a time; with the result 3 MB. */
const GROUP = 5;

const PAGE = 4096;

/** Entries of the kernel's table of terms: address, weight and address of scales, 16 bytes. */
const ENTRY = 16;

/** Fills `target` with bytes of an open file from `position` on. */
export type FileReader = (fd: number, target: Uint8Array, position: number) => void;

type SumFunction = (
  out: number,
  terms: number,
  n: number,
  begin: number,
  end: number,
  add: number,
  width: number,
) => number;

export interface WeightedSumOptions {
  /** Reads terms that stand in files. @default none can be read */
  readFile?: FileReader;
  /** Values of a tile and terms of a group; for tests. They do not change a bit of any result. */
  tile?: number;
  group?: number;
}

export interface WeightedSumResult {
  /** Whether every value of the blocks is finite. */
  finite: boolean;
  /** For each term that stands in a file, the sums of what was read of it, placed in the file's data; else zeros. */
  dataSums: DataSum[];
}

export class WeightedSum {
  /** The kernel's memory, as bytes and as numbers. */
  private readonly bytes: Uint8Array;
  private readonly floats: Float32Array;
  private readonly addresses: Uint32Array;
  private readonly functions: Record<Term["codec"], SumFunction>;
  private readonly summer: WordSummer;
  private readonly tile: number;
  private readonly group: number;
  private readonly readFile: FileReader | undefined;

  /** An instance with its own memory. */
  constructor({ readFile, tile = TILE, group = GROUP }: WeightedSumOptions = {}) {
    this.readFile = readFile;
    this.tile = tile;
    this.group = group;
    const pages = Math.ceil(this.slotStart(group + 1) / 65536);
    const memory = new WebAssembly.Memory({ initial: pages, maximum: pages });
    const { exports } = new WebAssembly.Instance(compile(), { env: { memory } });
    const { sumF32, sumBf16, sumInt8 } = exports as Record<string, SumFunction>;
    this.functions = { f32: sumF32!, bf16: sumBf16!, int8: sumInt8! };
    this.bytes = new Uint8Array(memory.buffer);
    this.floats = new Float32Array(memory.buffer);
    this.addresses = new Uint32Array(memory.buffer);
    this.summer = new WordSummer(memory, this.scratch());
  }

  /**
   * Writes the blocks from `fromBlock` up to, not including, `toBlock` (default: all) of the result. Each element is
   * summed in float32 in the order of the terms. Throws `bad-argument` for lengths that do not fit.
   */
  run(job: WeightedSumJob, fromBlock = 0, toBlock = job.out.length / job.blockLength): WeightedSumResult {
    checkJob(job, fromBlock, toBlock);
    const { terms, weights, blockLength } = job;
    const n = terms.length;
    const { codec, width } = terms[0]!;
    const sum = this.functions[codec];
    const out = new Uint8Array(job.out.buffer, job.out.byteOffset, job.out.byteLength);
    const dataSums = terms.map(() => ({ a: 0n, b: 0n }));
    let check = 0;
    const step = this.tileOf(width);
    for (let tile = fromBlock * blockLength; tile < toBlock * blockLength; tile += step) {
      const tileEnd = Math.min(tile + step, toBlock * blockLength);
      const result = this.slot(0, out, tile * 4);
      for (let first = 0; first < n; first += this.group) {
        const count = Math.min(this.group, n - first);
        for (let k = 0; k < count; k++) this.enter(k, terms[first + k]!, tile, tileEnd, dataSums[first + k]!);
        for (let at = tile; at < tileEnd; ) {
          const block = Math.floor(at / blockLength);
          const end = Math.min((block + 1) * blockLength, tileEnd);
          for (let k = 0; k < count; k++) this.floats[4 * k + 1] = weights[block * n + first + k]!;
          check += sum(result, 0, count, at - tile, end - tile, first > 0 ? 1 : 0, width);
          at = end;
        }
      }
      out.set(this.bytes.subarray(result, result + (tileEnd - tile) * 4), tile * 4);
    }
    return { finite: check === 0, dataSums };
  }

  /** Values of a tile that is whole rows. */
  private tileOf(width: number): number {
    if (width <= this.tile) return this.tile - (this.tile % width);
    throw new PicasoError("unsupported", {
      where: "weighted sum, rows",
      expected: `at most ${this.tile} values`,
      found: `${width}`,
      next: "Use another codec for states of this shape.",
    });
  }

  /** Brings values [from, to) of term k into its slot, with their scales behind them, and enters it in the table. */
  private enter(k: number, { codec, width, values, scales }: Term, from: number, to: number, total: DataSum): void {
    const size = bytesPerValue[codec];
    const address = this.bring(this.slot(k + 1, values, from * size), values, from * size, to * size, total);
    this.addresses[4 * k] = address;
    if (scales === null) return;
    const behind = Math.ceil((address + (to - from) * size) / 16) * 16;
    this.addresses[4 * k + 2] = this.bring(behind, scales, (from / width) * 4, (to / width) * 4, total);
  }

  /** Copies bytes [from, to) to an address, which it returns; adds the sums of what it reads from a file. */
  private bring(address: number, source: TermBytes, from: number, to: number, total: DataSum): number {
    const end = address + to - from;
    if (source instanceof Uint8Array) {
      this.touchPages(source, from, to);
      this.bytes.set(source.subarray(from, to), address);
      return address;
    }
    if (!this.readFile) throw noFiles();
    const position = source.begin + from;
    this.readFile(source.fd, this.bytes.subarray(address, end), position);
    addPart(total, this.summer.sum(address, end), wordsIn(source.dataEnd - position));
    return address;
  }

  /**
   * Reads one byte of each page, which makes the copy that follows up to 30 % faster: the address translations are
   * then fetched side by side, not one after the other.
   */
  private touchPages(array: Uint8Array, from: number, to: number): void {
    let touched = 0;
    for (let i = from; i < to; i += PAGE) touched += array[i]!;
    // Kept, behind the table, so that the loop is not optimized away.
    this.floats[this.scratch() / 4] = touched;
  }

  /**
   * Address in slot `index` for the bytes of `source` from `from` on: half a page away from them, modulo pages. A copy
   * to just behind its source modulo pages waits for its own writes and is up to five times slower.
   */
  private slot(index: number, source: TermBytes | FileBytes, from: number): number {
    if (!(source instanceof Uint8Array)) return this.slotStart(index);
    // Large buffers begin 0 to 64 bytes into a page.
    const wanted = source.byteOffset + from + PAGE / 2;
    const start = this.slotStart(index);
    return start + ((wanted - start) & (PAGE - 64));
  }

  /** 16 bytes behind the table. */
  private scratch(): number {
    return this.group * ENTRY;
  }

  /** Slot 0 is for the result, the others for terms. Before them stand the table and the scratch. */
  private slotStart(index: number): number {
    return Math.ceil((this.scratch() + ENTRY) / 64) * 64 + index * this.slotBytes();
  }

  /** Room for a tile of float32, or of 8-bit numbers with a scale for each, and for what the checksum fills up. */
  private slotBytes(): number {
    return Math.ceil((this.tile * 5) / 64) * 64 + PAGE + 64;
  }
}

let shared: WeightedSum | undefined;

/** {@link WeightedSum.run} of all blocks, on one instance that all callers share. */
export function weightedSum(job: WeightedSumJob): WeightedSumResult {
  shared ??= new WeightedSum();
  return shared.run(job);
}

function noFiles(): PicasoError {
  return new PicasoError("bad-argument", {
    where: "weighted sum",
    expected: "terms in memory",
    found: "one in a file, and no reader for files",
    next: "Pass `readFile`.",
  });
}

let module: WebAssembly.Module | undefined;

function compile(): WebAssembly.Module {
  try {
    module ??= new WebAssembly.Module(Uint8Array.from(atob(kernelBase64), (char) => char.charCodeAt(0)));
    return module;
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
