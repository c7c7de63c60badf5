import { describe, expect, it } from "vitest";
import { packTensor } from "./codec.js";
import { dequantizeRows, quantizeRows } from "./int8.js";

const smallest = 2 ** -149;

/** Rows of 9 values whose sizes differ by many orders of magnitude, the same in every run. */
const rows = Float32Array.from(
  { length: 9 * 40 },
  (_, i) => Math.sin(i * 12.9898) * 10 ** ((Math.floor(i / 9) % 60) - 30),
);

describe("int8", () => {
  it("is off by at most half a step, a 254th of the largest value of the row", () => {
    const { numbers, scales } = quantizeRows(rows, 9);
    const again = dequantizeRows(numbers, scales, 9);
    for (let row = 0; row < 40; row++) {
      const values = rows.subarray(row * 9, row * 9 + 9);
      const largest = Math.max(...values.map(Math.abs));
      for (const [i, value] of values.entries()) {
        // Beside the step, one rounding of the scale and one of the product.
        expect(Math.abs(again[row * 9 + i]! - value)).toBeLessThanOrEqual(largest * (1 / 254 + 2 ** -22));
      }
    }
  });

  it("keeps the largest value of a row, and both signs alike", () => {
    const { numbers } = quantizeRows(rows, 9);
    const negated = quantizeRows(
      rows.map((value) => -value),
      9,
    );
    for (let row = 0; row < 40; row++) {
      const part = numbers.subarray(row * 9, row * 9 + 9);
      expect(Math.max(...part.map(Math.abs))).toBe(127);
      const opposite = negated.numbers.subarray(row * 9, row * 9 + 9);
      expect([...opposite]).toEqual([...part].map((number) => 0 - number));
    }
  });

  it("a row of zeros has the scale 0", () => {
    const { numbers, scales } = quantizeRows(Float32Array.of(0, -0, 0, 1, 2, -4), 3);
    expect([...scales]).toEqual([0, Math.fround(4 / 127)]);
    expect([...numbers]).toEqual([0, 0, 0, 32, 64, -127]);
    expect([...dequantizeRows(numbers, scales, 3).subarray(0, 3)]).toEqual([0, 0, 0]);
  });

  it.each([1, 60, 64, 100, 127, 200])(
    "values of %d times the smallest float32 stay within half of the largest",
    (n) => {
      const values = Float32Array.of(n * smallest, -n * smallest, (n / 2) * smallest);
      const { numbers, scales } = quantizeRows(values, 3);
      expect(Math.max(...numbers)).toBeLessThanOrEqual(127);
      expect(Math.min(...numbers)).toBeGreaterThanOrEqual(-127);
      const again = dequantizeRows(numbers, scales, 3);
      for (const [i, value] of values.entries()) expect(Math.abs(again[i]! - value)).toBeLessThanOrEqual(64 * smallest);
    },
  );

  it("keeps the largest float32 finite", () => {
    const largest = 3.4028234663852886e38;
    const { numbers, scales } = quantizeRows(Float32Array.of(largest, -largest, 1), 3);
    expect(dequantizeRows(numbers, scales, 3).every(Number.isFinite)).toBe(true);
  });

  it.each([NaN, Infinity, -Infinity])("packs no %d", (value) => {
    expect(() => packTensor("int8", "ssm", [1, 2], Float32Array.of(1, value))).toThrow(
      /ssm, value 1: expected a finite/,
    );
  });

  it("stores the scales as float32 before the numbers", () => {
    const [scales, numbers] = packTensor("int8", "ssm", [2, 1, 2], Float32Array.of(127, -1, 0, 0));
    expect(scales).toMatchObject({ name: "ssm.scale", dtype: "F32", shape: [2, 1] });
    expect([...scales!.bytes]).toEqual([0, 0, 128, 63, 0, 0, 0, 0]);
    expect(numbers).toMatchObject({ name: "ssm", dtype: "I8", shape: [2, 1, 2] });
    expect([...numbers!.bytes]).toEqual([127, 255, 0, 0]);
  });
});
