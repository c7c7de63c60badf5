/**
 * The checksum of a state file's data: Fletcher's sums over its N little-endian 32-bit words w_0, w_1, ... (the last
 * one filled up with zero bytes), A = sum w_i and B = sum (N - i) w_i, modulo 2^64. It finds every change of one or two
 * words and, but for one chance in 2^64, every other damage; it is no protection against someone who means to deceive.
 *
 * Why no CRC: sums of parts add up to that of the whole, so that threads can share a file, and they are several times
 * as fast. The loop is WebAssembly (data-sum.as.ts), also for memory that belongs to another module.
 */
import { dataSumBase64, sharedDataSumBase64 } from "./data-sum.generated.js";
import { instantiate } from "./wasm.js";

/** A and B of some words. */
export interface DataSum {
  a: bigint;
  b: bigint;
}

/** Bytes that {@link WordSummer} wants after its own data, for the result. */
const RESULT_BYTES = 16;

/** Bytes summed at a time when the data are not in WebAssembly memory. */
const TILE = 196_608;

/** Sums words in a WebAssembly memory, of one thread or shared. */
export class WordSummer {
  private readonly run: (begin: number, end: number, result: number, after: number) => void;
  private readonly bytes: Uint8Array;
  private readonly result: BigUint64Array;

  /** @param scratch Address, a multiple of 8, of 16 bytes that the summer may overwrite. */
  constructor(
    memory: WebAssembly.Memory,
    private readonly scratch: number,
  ) {
    const modules = { own: dataSumBase64, shared: sharedDataSumBase64 };
    this.run = instantiate(modules, memory, "checksum of states").dataSum as typeof this.run;
    this.bytes = new Uint8Array(memory.buffer);
    this.result = new BigUint64Array(memory.buffer, scratch, 2);
  }

  /**
   * Adds the sums of the words from `begin`, of any alignment, to A and B at `at` and `at + 1` of `totals`, as a part of
   * data of which `wordsFromPart` words begin with the part's first one. Up to 15 bytes after `end` are overwritten with
   * zeros; they count as words of the part, even past the end of the data: zeros add nothing.
   */
  add(totals: BigUint64Array, at: number, begin: number, end: number, wordsFromPart: number): void {
    const padded = begin + Math.ceil((end - begin) / 16) * 16;
    this.bytes.fill(0, end, padded);
    this.run(begin, padded, this.scratch, wordsFromPart - (padded - begin) / 4);
    totals[at]! += this.result[0]!;
    totals[at + 1]! += this.result[1]!;
  }
}

/** Words that `bytes` bytes fill, the last one perhaps in part. */
export function wordsIn(bytes: number): number {
  return Math.ceil(bytes / 4);
}

let own: { summer: WordSummer; bytes: Uint8Array } | undefined;

/** The sums of these pieces, one after the other; all but the last are whole words. */
export function dataSum(...pieces: Uint8Array[]): DataSum {
  const total = new BigUint64Array(2);
  let left = pieces.reduce((sum, piece) => sum + piece.length, 0);
  for (const piece of pieces) {
    addPart(total, 0, piece, wordsIn(left));
    left -= piece.length;
  }
  return { a: total[0]!, b: total[1]! };
}

/** {@link WordSummer.add} of bytes that stand anywhere. */
export function addPart(totals: BigUint64Array, at: number, part: Uint8Array, wordsFromPart: number): void {
  own ??= ownSummer();
  for (let begin = 0; begin < part.length; begin += TILE) {
    const tile = part.subarray(begin, begin + TILE);
    own.bytes.set(tile, RESULT_BYTES);
    own.summer.add(totals, at, RESULT_BYTES, RESULT_BYTES + tile.length, wordsFromPart - begin / 4);
  }
}

/** 32 hexadecimal digits, A before B. */
export function dataSumDigits({ a, b }: DataSum): string {
  return [a, b].map((sum) => sum.toString(16).padStart(16, "0")).join("");
}

function ownSummer(): { summer: WordSummer; bytes: Uint8Array } {
  const pages = Math.ceil((RESULT_BYTES + TILE + 16) / 65_536);
  const memory = new WebAssembly.Memory({ initial: pages, maximum: pages });
  return { summer: new WordSummer(memory, 0), bytes: new Uint8Array(memory.buffer) };
}
