import { describe, expect, it } from "vitest";
import { dataSum, dataSumDigits, WordSummer, wordsIn } from "./data-sum.js";

const modulus = 1n << 64n;

/** The sums by their definition. */
function reference(bytes: Uint8Array): { a: bigint; b: bigint } {
  const padded = new Uint8Array(wordsIn(bytes.length) * 4);
  padded.set(bytes);
  const words = new Uint32Array(padded.buffer);
  let [a, b] = [0n, 0n];
  for (const [i, word] of words.entries()) {
    a += BigInt(word);
    b += BigInt(words.length - i) * BigInt(word);
  }
  return { a: a % modulus, b: b % modulus };
}

/** Bytes of every size, the same in every run. */
const data = Uint8Array.from({ length: 1000 }, (_, i) => (i * 151 + (i >> 3) * 7) & 255);

describe("dataSum", () => {
  it("known values", () => {
    expect(dataSum()).toEqual({ a: 0n, b: 0n });
    expect(dataSum(Uint8Array.of(1))).toEqual({ a: 1n, b: 1n });
    expect(dataSum(Uint8Array.of(1, 0, 0, 0, 2, 0, 0, 0, 0, 1))).toEqual({ a: 259n, b: 3n + 4n + 256n });
    expect(dataSumDigits({ a: 255n, b: 1n })).toBe("00000000000000ff0000000000000001");
  });

  it("equals the definition for every length around the step, at every offset", () => {
    for (let begin = 0; begin < 5; begin++) {
      for (let end = begin; end < 70; end++) {
        expect(dataSum(data.subarray(begin, end))).toEqual(reference(data.subarray(begin, end)));
      }
    }
  });

  it("of more than a tile, with the largest words", () => {
    const large = new Uint8Array(1_000_003).fill(255);
    expect(dataSum(large)).toEqual(reference(large));
  });

  it("of pieces equals that of the whole", () => {
    for (const [first, second] of [
      [4, 8],
      [16, 20],
      [100, 996],
      [0, 1000],
    ] as const) {
      const pieces = [data.subarray(0, first), data.subarray(first, second), data.subarray(second)];
      expect(dataSum(...pieces)).toEqual(dataSum(data));
    }
  });

  it("tells words in another order, and any two changed words", () => {
    for (let i = 0; i < 250; i++) {
      const changed = new Uint32Array(data.slice().buffer);
      changed[i]! ^= 0x80000000;
      changed[(i + 8) % 250]! ^= 0x80000000;
      expect(dataSum(new Uint8Array(changed.buffer))).not.toEqual(dataSum(data));
    }
    const swapped = data.slice();
    swapped.set(data.subarray(0, 4), 4);
    swapped.set(data.subarray(4, 8), 0);
    expect(dataSum(swapped).a).toBe(dataSum(data).a);
    expect(dataSum(swapped).b).not.toBe(dataSum(data).b);
  });
});

it("parts, summed in any order, add up to the whole", () => {
  const memory = new WebAssembly.Memory({ initial: 1 });
  const summer = new WordSummer(memory, 0);
  const bytes = new Uint8Array(memory.buffer);
  const totals = new BigUint64Array(4);
  const whole = data.subarray(0, 998);
  for (const [from, to] of [
    [500, 504],
    [504, 998],
    [0, 36],
    [36, 500],
  ] as const) {
    bytes.fill(0xff, 16);
    bytes.set(whole.subarray(from, to), 4096 + 3);
    summer.add(totals, 2, 4096 + 3, 4096 + 3 + to - from, wordsIn(whole.length - from));
  }
  expect({ a: totals[2], b: totals[3] }).toEqual(reference(whole));
  expect(totals.slice(0, 2)).toEqual(new BigUint64Array(2));
});
