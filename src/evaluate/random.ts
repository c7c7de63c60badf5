/**
 * Seeded random numbers for evaluation: xoshiro128** 1.1 (Blackman and Vigna, "Scrambled Linear Pseudorandom Number
 * Generators", 2018), its four words filled by SplitMix64 as its authors advise. Integer arithmetic only, so a seed
 * gives the same draws on every machine and version of Node.
 */
import { PicasoError } from "../errors.js";

const mask64 = (1n << 64n) - 1n;
const two32 = 2 ** 32;

/** One step of SplitMix64: the next state and the output that belongs to it. */
export function splitMix64(state: bigint): { state: bigint; output: bigint } {
  const next = (state + 0x9e3779b97f4a7c15n) & mask64;
  let z = next;
  z = ((z ^ (z >> 30n)) * 0xbf58476d1ce4e5b9n) & mask64;
  z = ((z ^ (z >> 27n)) * 0x94d049bb133111ebn) & mask64;
  return { state: next, output: z ^ (z >> 31n) };
}

export class Random {
  private constructor(
    private a: number,
    private b: number,
    private c: number,
    private d: number,
  ) {}

  /**
   * A generator for `seed` and, under it, for a path of numbers such as a query's index: each path has a stream of its
   * own, so what is drawn for one query does not depend on which others ran before it.
   *
   * Throws `bad-argument` unless all are whole numbers from 0 to 2^53 - 1.
   */
  static of(seed: number, ...path: number[]): Random {
    let key = 0n;
    for (const part of [seed, ...path]) {
      if (!Number.isSafeInteger(part) || part < 0) throw badNumber("random seed", "a whole number from 0", part);
      key = splitMix64(key ^ BigInt(part)).output;
    }
    const first = splitMix64(key);
    const second = splitMix64(first.state);
    const word = (value: bigint, shift: bigint) => Number((value >> shift) & 0xffffffffn);
    return Random.fromState(
      word(first.output, 0n),
      word(first.output, 32n),
      word(second.output, 0n),
      word(second.output, 32n),
    );
  }

  /** A generator in the given state, four 32-bit words, not all zero: for checks against published sequences. */
  static fromState(a: number, b: number, c: number, d: number): Random {
    if ((a | b | c | d) === 0) throw badNumber("random state", "four words, not all zero", 0);
    return new Random(a | 0, b | 0, c | 0, d | 0);
  }

  /** A whole number from 0 to 2^32 - 1. */
  uint32(): number {
    const product = Math.imul(this.b, 5);
    const result = Math.imul((product << 7) | (product >>> 25), 9);
    const shifted = this.b << 9;
    this.c ^= this.a;
    this.d ^= this.b;
    this.b ^= this.c;
    this.a ^= this.d;
    this.c ^= shifted;
    this.d = (this.d << 11) | (this.d >>> 21);
    return result >>> 0;
  }

  /** A number in [0, 1) with 53 random bits. */
  float(): number {
    const high = this.uint32() >>> 5;
    const low = this.uint32() >>> 6;
    return (high * 2 ** 26 + low) / 2 ** 53;
  }

  /** A whole number from 0 to `n` - 1, all equally likely. `n` is from 1 to 2^32. */
  below(n: number): number {
    if (!Number.isInteger(n) || n < 1 || n > two32) throw badNumber("random number's bound", "1 to 2^32", n);
    // Each result gets a run of equally many draws; those after the last whole run are drawn again.
    const run = Math.floor(two32 / n);
    let result = Math.floor(this.uint32() / run);
    while (result >= n) result = Math.floor(this.uint32() / run);
    return result;
  }

  /** Puts `items` into a random order, in place, all orders equally likely (Fisher-Yates). */
  shuffle<T>(items: T[]): T[] {
    for (let i = items.length - 1; i > 0; i--) {
      const j = this.below(i + 1);
      const item = items[i] as T;
      items[i] = items[j] as T;
      items[j] = item;
    }
    return items;
  }

  /**
   * `k` different whole numbers from 0 to `n` - 1 in random order. Time and memory go with k alone. A smaller k gives
   * the beginning of what a larger one gives.
   */
  sample(n: number, k: number): number[] {
    if (!Number.isInteger(k) || k < 0 || k > n) throw badNumber("sample without replacement", `0 to ${n} items`, k);
    // The first k steps of a shuffle of 0 .. n-1, of which only the moved places are kept.
    const moved = new Map<number, number>();
    const drawn: number[] = [];
    for (let i = 0; i < k; i++) {
      const j = i + this.below(n - i);
      drawn.push(moved.get(j) ?? j);
      moved.set(j, moved.get(i) ?? i);
    }
    return drawn;
  }
}

function badNumber(where: string, expected: string, found: number): PicasoError {
  return new PicasoError("bad-argument", { where, expected, found: String(found), next: "Pass such a number." });
}
