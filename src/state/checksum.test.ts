import { describe, expect, it } from "vitest";
import { crc32, crc32Tables } from "./checksum.js";

const ascii = (text: string) => new TextEncoder().encode(text);

/** CRC-32 by its definition, bit by bit. */
function crc32Bits(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of bytes) {
    for (let bit = 0; bit < 8; bit++) {
      const low = (crc ^ (byte >>> bit)) & 1;
      crc = (crc >>> 1) ^ (low ? 0xedb88320 : 0);
    }
  }
  return ~crc >>> 0;
}

describe.each([
  ["crc32", crc32],
  ["crc32Tables", crc32Tables],
])("%s", (_, checksum) => {
  it.each([
    ["", 0],
    ["a", 0xe8b7be43],
    ["123456789", 0xcbf43926],
    ["The quick brown fox jumps over the lazy dog", 0x414fa339],
  ])("known value of %j", (text, value) => {
    expect(checksum(ascii(text))).toBe(value);
  });

  it("equals the definition for every length and offset around the step", () => {
    const data = Uint8Array.from({ length: 64 }, (_, i) => (i * 151 + 7) & 255);
    for (let begin = 0; begin < 9; begin++) {
      for (let end = begin; end <= 40; end++) {
        const piece = data.subarray(begin, end);
        expect(checksum(piece)).toBe(crc32Bits(piece));
      }
    }
  });

  it("continues over pieces", () => {
    const data = Uint8Array.from({ length: 1000 }, (_, i) => (i * i) & 255);
    expect(checksum(data.subarray(333), checksum(data.subarray(0, 333)))).toBe(checksum(data));
  });
});

it("runs on Node's implementation where there is one", () => {
  const data = new Uint8Array(8 << 20).fill(7);
  const best = (checksum: (bytes: Uint8Array) => number) => {
    const times = [0, 1, 2, 3, 4].map(() => {
      const start = performance.now();
      checksum(data);
      return performance.now() - start;
    });
    return Math.min(...times);
  };
  expect(best(crc32)).toBeLessThan(best(crc32Tables));
});
