import { describe, expect, test } from "vitest";
import { dequantizeRows } from "../../test/support/dequantize.js";
import { randomTokens } from "../../test/support/random-tokens.js";
import { BLOCK_SIZE, blocksOf, QUANTIZED_BITS, type QuantizedDtype, quantizeRows } from "./quantize.js";

/** Numbers from -1 to 1. */
const numbers = (count: number) => Float32Array.from(randomTokens(count, 20_001), (value) => value / 10_000 - 1);

describe.each<QuantizedDtype>(["q8", "q4"])("%s", (dtype) => {
  const codes = 2 ** QUANTIZED_BITS[dtype];

  test.each([32, 64, 96, 40, 1, 33])("rows of %i weights come back within a step of their block", (rowLength) => {
    const values = numbers(5 * rowLength);
    const quantized = quantizeRows(values, rowLength, dtype);
    expect(quantized.scales.length).toBe(5 * blocksOf(rowLength));
    expect(quantized.codes.length).toBe((5 * blocksOf(rowLength) * BLOCK_SIZE * QUANTIZED_BITS[dtype]) / 8);
    const back = dequantizeRows(quantized, rowLength, dtype);
    for (const [i, value] of values.entries()) {
      const row = Math.floor(i / rowLength);
      const block = row * blocksOf(rowLength) + Math.floor((i % rowLength) / BLOCK_SIZE);
      const step = Math.abs(quantized.scales[block]!);
      // Half a step by rounding; 4-bit codes end one step short on one side, where a weight may be cut by half of it.
      const cut = dtype === "q4" && value * quantized.scales[block]! > 0 ? 1 : 0.5;
      expect(Math.abs(back[i]! - value), `weight ${i}`).toBeLessThanOrEqual(cut * step * (1 + 1e-5));
    }
  });

  test("the steps are as small as the largest weight of each block allows", () => {
    const values = numbers(3 * 32);
    values[5] = -2;
    values[40] = 3;
    const { scales } = quantizeRows(values, 96, dtype);
    const largest = [2, 3, Math.max(...values.subarray(64).map(Math.abs))];
    const steps = dtype === "q8" ? 127 : 8;
    for (const [block, scale] of scales.entries()) expect(Math.abs(scale) * steps).toBeCloseTo(largest[block]!, 5);
  });

  test("weights that are whole steps come back exactly", () => {
    const half = codes / 2;
    const values = Float32Array.from({ length: 64 }, (_, i) => ((i % (codes - 1)) - half + 1) / 64);
    values[0] = dtype === "q4" ? -half / 64 : (-half + 1) / 64;
    values[32] = values[0];
    const quantized = quantizeRows(values, 64, dtype);
    expect(Array.from(dequantizeRows(quantized, 64, dtype))).toEqual(Array.from(values));
  });

  test("a block of zeros comes back as zeros", () => {
    const quantized = quantizeRows(new Float32Array(32), 32, dtype);
    expect(Array.from(quantized.scales)).toEqual([0]);
    expect(dequantizeRows(quantized, 32, dtype).every((value) => value === 0)).toBe(true);
  });

  test("blocks do not reach over the end of a row", () => {
    const row = numbers(40);
    const apart = quantizeRows(row, 40, dtype);
    const together = quantizeRows(Float32Array.of(...row.map(() => 9), ...row), 40, dtype);
    expect(together.codes.subarray(apart.codes.length)).toEqual(apart.codes);
    expect(together.scales.subarray(apart.scales.length)).toEqual(apart.scales);
  });
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
