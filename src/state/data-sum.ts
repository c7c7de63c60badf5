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

/** A and B of some words; of a part, they stand for themselves until {@link addPart} places them. */
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
  private readonly run: (begin: number, end: number, result: number) => void;
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

  /** Sums of the words from `begin`, of any alignment; up to 15 bytes after `end` are overwritten with zeros. */
  sum(begin: number, end: number): DataSum & { words: number } {
    const padded = begin + Math.ceil((end - begin) / 16) * 16;
    this.bytes.fill(0, end, padded);
    this.run(begin, padded, this.scratch);
    return { a: this.result[0]!, b: this.result[1]!, words: (padded - begin) / 4 };
  }
}

/**
 * Adds a part to a total, given how many words of the data begin with the part's first one. The words that the part
 * was filled up with count as its own, even past the end of the data: zeros add nothing.
 */
export function addPart(total: DataSum, part: DataSum & { words: number }, wordsFromPart: number): void {
  total.a = BigInt.asUintN(64, total.a + part.a);
  total.b = BigInt.asUintN(64, total.b + part.b + BigInt(wordsFromPart - part.words) * part.a);
}

/** Words that `bytes` bytes fill, the last one perhaps in part. */
export function wordsIn(bytes: number): number {
  return Math.ceil(bytes / 4);
}

let own: { summer: WordSummer; bytes: Uint8Array } | undefined;

/** The sums of these pieces, one after the other; all but the last are whole words. */
export function dataSum(...pieces: Uint8Array[]): DataSum {
  own ??= ownSummer();
  const total = { a: 0n, b: 0n };
  let left = pieces.reduce((sum, piece) => sum + piece.length, 0);
  for (const piece of pieces) {
    for (let at = 0; at < piece.length; at += TILE) {
      const part = piece.subarray(at, at + TILE);
      own.bytes.set(part, RESULT_BYTES);
      addPart(total, own.summer.sum(RESULT_BYTES, RESULT_BYTES + part.length), wordsIn(left));
      left -= part.length;
    }
  }
  return total;
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
