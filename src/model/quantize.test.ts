import { describe, expect, test } from "vitest";
import { dequantizeRows } from "../../test/support/dequantize.js";
import { randomTokens } from "../../test/support/random-tokens.js";
import { blockSizeOf, blocksOf, QUANTIZED_BITS, type QuantizedDtype, quantizeRows } from "./quantize.js";

/** Numbers from -1 to 1. */
const numbers = (count: number) => Float32Array.from(randomTokens(count, 20_001), (value) => value / 10_000 - 1);

describe.each<QuantizedDtype>(["q8", "q4"])("%s", (dtype) => {
  const codes = 2 ** QUANTIZED_BITS[dtype];

  test.each([32, 64, 96, 128, 384, 40, 1, 33, 200])(
    "rows of %i weights come back within a step of their block",
    (rowLength) => {
      const values = numbers(5 * rowLength);
      const quantized = quantizeRows(values, rowLength, dtype);
      expect(quantized.scales.length).toBe(5 * blocksOf(rowLength));
      expect(quantized.codes.length).toBe(
        (quantized.scales.length * blockSizeOf(rowLength) * QUANTIZED_BITS[dtype]) / 8,
      );
      const back = dequantizeRows(quantized, rowLength, dtype);
      for (const [i, value] of values.entries()) {
        const row = Math.floor(i / rowLength);
        const block = row * blocksOf(rowLength) + Math.floor((i % rowLength) / blockSizeOf(rowLength));
        const step = Math.abs(quantized.scales[block]!);
        // Half a step by rounding. 4-bit codes end at 8 and 7 steps, and the farthest weight may be 9.2 and 8.2 away.
        const cut = dtype === "q4" && Math.abs(value) > 6.5 * step ? 1.2 : 0.5;
        expect(Math.abs(back[i]! - value), `weight ${i}`).toBeLessThanOrEqual(cut * step * (1 + 1e-5));
      }
    },
  );

  test("each block has a step of its own, as small as its largest weight allows", () => {
    const values = numbers(3 * 32);
    values[5] = -2;
    values[40] = 3;
    const { scales } = quantizeRows(values, 96, dtype);
    const largest = [2, 3, Math.max(...values.subarray(64).map(Math.abs))];
    for (const [block, scale] of scales.entries()) {
      const steps = largest[block]! / Math.abs(scale);
      expect(steps).toBeGreaterThan(dtype === "q8" ? 126.99 : 6.99);
      expect(steps).toBeLessThan(dtype === "q8" ? 127.01 : 9.21);
    }
  });

  test("weights that are whole steps come back exactly", () => {
    const half = codes / 2;
    const values = Float32Array.from({ length: 64 }, (_, i) => ((i % (codes - 1)) - half + 1) / 64);
    values[0] = dtype === "q4" ? -half / 64 : (-half + 1) / 64;
    values[32] = values[0];
    const quantized = quantizeRows(values, 64, dtype);
    expect(Array.from(dequantizeRows(quantized, 64, dtype))).toEqual(Array.from(values));
  });

  test.each([
    [64, 64],
    [128, 128],
    [768, 128],
    [1536, 128],
    [96, 32],
    [40, 32],
  ])("rows of %i are cut into blocks of %i", (rowLength, size) => {
    expect(blockSizeOf(rowLength)).toBe(size);
    const { codes, scales } = quantizeRows(numbers(rowLength), rowLength, dtype);
    expect((codes.length * 8) / QUANTIZED_BITS[dtype] / scales.length).toBe(size);
  });

  test.each([0, 1e-45, -1e-40])("a block of weights of %f comes back as zeros", (value) => {
    const quantized = quantizeRows(new Float32Array(32).fill(value), 32, dtype);
    expect(Array.from(quantized.scales)).toEqual([0]);
    expect(dequantizeRows(quantized, 32, dtype).every((weight) => weight === 0)).toBe(true);
  });

  test("blocks do not reach over the end of a row", () => {
    const row = numbers(40);
    const apart = quantizeRows(row, 40, dtype);
    const together = quantizeRows(Float32Array.of(...row.map(() => 9), ...row), 40, dtype);
    expect(together.codes.subarray(apart.codes.length)).toEqual(apart.codes);
    expect(together.scales.subarray(apart.scales.length)).toEqual(apart.scales);
  });
});

test("4-bit steps leave less error than those that give the largest weight the last code", () => {
  const values = numbers(128 * 20).map((value) => value ** 3);
  const back = dequantizeRows(quantizeRows(values, 128, "q4"), 128, "q4");
  let error = 0;
  let plain = 0;
  for (let start = 0; start < values.length; start += 128) {
    const block = values.subarray(start, start + 128);
    const step = Math.max(...block.map(Math.abs)) / 7;
    for (const [i, value] of block.entries()) {
      error += (back[start + i]! - value) ** 2;
      plain += (Math.round(value / step) * step - value) ** 2;
    }
  }
  expect(error).toBeLessThan(0.9 * plain);
});

test("two 4-bit codes share a byte, the first in its low half", () => {
  const values = new Float32Array(32);
  values[0] = -8;
  values[1] = 7;
  values[2] = 1;
  const { codes, scales } = quantizeRows(values, 32, "q4");
  expect(scales[0]).toBe(1);
  expect(Array.from(codes.subarray(0, 3))).toEqual([0xf0, 0x89, 0x88]);
});
