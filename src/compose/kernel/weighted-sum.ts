/**
 * Weighted sums of large arrays by the wasm kernel (weighted-sum.as.ts), at the speed of memory. The kernel sees only
 * its own memory. Terms that stand there are summed in place; of others, a tile of each is brought in, from elsewhere or
 * straight from a file, summed while it is in the cache, then the next tile. The constants below say what was measured.
 */
import { PicasoError } from "../../errors.js";
import { WordSummer, wordsIn } from "../../state/data-sum.js";
import { instantiate } from "../../state/wasm.js";
import { bytesPerValue, checkJob, type KernelBytes, type Term, type TermBytes, type WeightedSumJob } from "./job.js";
import { kernelBase64, sharedKernelBase64 } from "./kernel.generated.js";

/** Values of a tile: 128 KB of float32. Shorter copies and reads are slower, longer ones leave the second-level cache. */
const TILE = 32_768;

/** Most values of a tile whose terms are summed in place: its result is copied out while still in the cache. */
const TILE_IN_PLACE = 16_384;

/** Terms that are summed at a time: with the result they fill 1.4 MB. */
const GROUP = 10;

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

/** Room for an instance in memory that others use too. */
export interface Workspace {
  memory: WebAssembly.Memory;
  /** A multiple of 64, of {@link workspaceBytes} that nobody else writes to. */
  address: number;
}

export interface WeightedSumOptions {
  /** @default a memory of its own */
  workspace?: Workspace;
  /** Reads terms that stand in files. @default none can be read */
  readFile?: FileReader;
  /** Values of a tile and terms of a group; for tests. They do not change a bit of any result. */
  tile?: number;
  group?: number;
}

export interface WeightedSumResult {
  /** Whether every value of the blocks is finite. */
  finite: boolean;
  /** [terms, 2]: for terms in files, the sums A and B of what was read, as a part of the file's data; else zeros. */
  dataSums: BigUint64Array;
}

export class WeightedSum {
  /** The kernel's memory, as bytes and as numbers. */
  private readonly bytes: Uint8Array;
  private readonly floats: Float32Array;
  private readonly addresses: Uint32Array;
  private readonly functions: Record<Term["codec"], SumFunction>;
  private readonly summer: WordSummer;
  private readonly layout: Layout;
  private readonly readFile: FileReader | undefined;

  constructor({ workspace, readFile, tile = TILE, group = GROUP }: WeightedSumOptions = {}) {
    this.readFile = readFile;
    this.layout = new Layout(workspace?.address ?? 0, tile, group);
    const memory = workspace?.memory ?? ownMemory(this.layout.end);
    const modules = { own: kernelBase64, shared: sharedKernelBase64 };
    const exports = instantiate(modules, memory, "composition kernel") as Record<string, SumFunction>;
    const { sumF32, sumBf16, sumInt8 } = exports;
    this.functions = { f32: sumF32!, bf16: sumBf16!, int8: sumInt8! };
    this.bytes = new Uint8Array(memory.buffer);
    this.floats = new Float32Array(memory.buffer);
    this.addresses = new Uint32Array(memory.buffer);
    this.summer = new WordSummer(memory, this.layout.scratch);
  }

  /**
   * Writes the blocks from `fromBlock` up to, not including, `toBlock` (default: all) of the result. Each element is
   * summed in float32 in the order of the terms. Throws `bad-argument` for lengths that do not fit.
   */
  run(
    job: WeightedSumJob<Float32Array | KernelBytes>,
    fromBlock = 0,
    toBlock = job.out.byteLength / 4 / job.blockLength,
  ): WeightedSumResult {
    checkJob(job, fromBlock, toBlock);
    const { terms, weights, blockLength } = job;
    const n = terms.length;
    const { codec, width } = terms[0]!;
    const sum = this.functions[codec];
    const out = job.out instanceof Float32Array ? bytesOf(job.out) : job.out;
    const dataSums = new BigUint64Array(2 * n);
    const { table, group } = this.layout;
    let check = 0;
    const step = this.layout.tileOf(terms[0]!);
    for (let tile = fromBlock * blockLength; tile < toBlock * blockLength; tile += step) {
      const tileEnd = Math.min(tile + step, toBlock * blockLength);
      const result = this.layout.place(0, out, tile * 4);
      for (let first = 0; first < n; first += group) {
        const count = Math.min(group, n - first);
        for (let k = 0; k < count; k++)
          this.enter(k, terms[first + k]!, tile, tileEnd, dataSums.subarray(2 * (first + k)));
        for (let at = tile; at < tileEnd; ) {
          const block = Math.floor(at / blockLength);
          const end = Math.min((block + 1) * blockLength, tileEnd);
          for (let k = 0; k < count; k++) this.floats[table / 4 + 4 * k + 1] = weights[block * n + first + k]!;
          check += sum(result, table, count, at - tile, end - tile, first > 0 ? 1 : 0, width);
          at = end;
        }
      }
      if (out instanceof Uint8Array) out.set(this.bytes.subarray(result, result + (tileEnd - tile) * 4), tile * 4);
    }
    return { finite: check === 0, dataSums };
  }

  /** Enters values [from, to) of term k, and their scales, in the table; brings them in where they stand elsewhere. */
  private enter(
    k: number,
    { codec, width, values, scales }: Term,
    from: number,
    to: number,
    sums: BigUint64Array,
  ): void {
    const size = bytesPerValue[codec];
    const entry = this.layout.table / 4 + 4 * k;
    const address = this.layout.place(k + 1, values, from * size);
    this.addresses[entry] = address;
    this.bring(address, values, from * size, to * size, sums);
    if (scales === null) return;
    const [begin, end] = [(from / width) * 4, (to / width) * 4];
    const behind = Math.ceil((address + (to - from) * size) / 16) * 16;
    const scalesAddress = "address" in scales ? scales.address + begin : behind;
    this.addresses[entry + 2] = scalesAddress;
    this.bring(scalesAddress, scales, begin, end, sums);
  }

  /** Copies bytes [from, to) to an address, unless they stand there; adds the sums of what it reads from a file. */
  private bring(address: number, source: TermBytes, from: number, to: number, sums: BigUint64Array): void {
    const end = address + to - from;
    if ("address" in source) return;
    if (source instanceof Uint8Array) {
      this.touchPages(source, from, to);
      this.bytes.set(source.subarray(from, to), address);
      return;
    }
    if (!this.readFile) throw noFiles();
    const position = source.begin + from;
    this.readFile(source.fd, this.bytes.subarray(address, end), position);
    this.summer.add(sums, 0, address, end, wordsIn(source.dataEnd - position));
  }

  /**
   * Reads one byte of each page, which makes the copy that follows up to 30 % faster: the address translations are
   * then fetched side by side, not one after the other.
   */
  private touchPages(array: Uint8Array, from: number, to: number): void {
    let touched = 0;
    for (let i = from; i < to; i += PAGE) touched += array[i]!;
    // Kept so that the loop is not optimized away.
    this.floats[this.layout.scratch / 4] = touched;
  }
}

/** Where things stand in an instance's part of the memory: table, scratch, and slots for tiles. */
class Layout {
  /** 16 bytes for whoever needs them. */
  readonly scratch: number;
  private readonly slots: number;

  constructor(
    /** Address of the kernel's table of terms. */
    readonly table: number,
    private readonly tile: number,
    readonly group: number,
  ) {
    this.scratch = table + group * ENTRY;
    this.slots = table + Math.ceil((group * ENTRY + 16) / 64) * 64;
  }

  get end(): number {
    return this.slotStart(this.group + 1);
  }

  /** Values of a tile that is whole rows. */
  tileOf({ width, values }: Term): number {
    const most = "address" in values ? Math.max(width, Math.min(this.tile, TILE_IN_PLACE)) : this.tile;
    if (width <= this.tile) return most - (most % width);
    throw new PicasoError("unsupported", {
      where: "weighted sum, rows",
      expected: `at most ${this.tile} values`,
      found: `${width}`,
      next: "Use another codec for states of this shape.",
    });
  }

  /**
   * Where the bytes of `source` from `from` on are to stand: where they are, or in a slot, 0 for the result and others
   * for terms. A slot's address is half a page away from theirs, modulo pages: a copy to just behind its source modulo
   * pages waits for its own writes and is up to five times slower.
   */
  place(slot: number, source: TermBytes, from: number): number {
    if ("address" in source) return source.address + from;
    const start = this.slotStart(slot);
    if (!(source instanceof Uint8Array)) return start;
    // Large buffers begin 0 to 64 bytes into a page.
    const wanted = source.byteOffset + from + PAGE / 2;
    return start + ((wanted - start) & (PAGE - 64));
  }

  /** A slot has room for a tile of float32, or of 8-bit numbers with a scale for each, and for what checksums fill up. */
  private slotStart(index: number): number {
    return this.slots + index * (Math.ceil((this.tile * 5) / 64) * 64 + PAGE + 64);
  }
}

/** Bytes of memory that an instance needs for itself. */
export function workspaceBytes({ tile = TILE, group = GROUP }: WeightedSumOptions = {}): number {
  return new Layout(0, tile, group).end;
}

function ownMemory(bytes: number): WebAssembly.Memory {
  const pages = Math.ceil(bytes / 65536);
  return new WebAssembly.Memory({ initial: pages, maximum: pages });
}

function bytesOf({ buffer, byteOffset, byteLength }: Float32Array): Uint8Array {
  return new Uint8Array(buffer, byteOffset, byteLength);
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
