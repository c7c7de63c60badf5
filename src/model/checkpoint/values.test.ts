import { describe, expect, test } from "vitest";
import type { CheckpointDtype, TensorSource } from "./tensor-source.js";
import { dtypeBytes } from "./tensor-source.js";
import { floatPieces, readFloats } from "./values.js";

/** A source with one tensor, `w`. */
function sourceOf(dtype: CheckpointDtype, bytes: Uint8Array): TensorSource {
  const shape = [bytes.length / dtypeBytes[dtype]];
  return {
    tensors: new Map([["w", { name: "w", dtype, shape, byteLength: bytes.length }]]),
    where: () => "model.safetensors",
    read: async (_, start = 0, end = bytes.length) => bytes.slice(start, end),
    close: async () => {},
  };
}

/** Half floats by the definition of IEEE 754, independent of the code under test. */
function halfValue(bits: number): number {
  const exponent = (bits >>> 10) & 0x1f;
  const fraction = (bits & 0x3ff) / 1024;
  const sign = bits >>> 15 ? -1 : 1;
  if (exponent === 31) return fraction > 0 ? Number.NaN : sign * Number.POSITIVE_INFINITY;
  return exponent === 0 ? sign * fraction * 2 ** -14 : sign * (1 + fraction) * 2 ** (exponent - 15);
}

const everyHalf = Uint16Array.from({ length: 65536 }, (_, bits) => bits);

describe("readFloats", () => {
  test("reads f32 as it is", async () => {
    const values = Float32Array.of(1.5, -0, 3.4e38, 1e-45);
    expect(await readFloats(sourceOf("f32", new Uint8Array(values.buffer)), "w")).toEqual(values);
  });

  test("reads every f16", async () => {
    const found = await readFloats(sourceOf("f16", new Uint8Array(everyHalf.buffer)), "w");
    expect(found.every((value, bits) => Object.is(value, Math.fround(halfValue(bits))))).toBe(true);
  });

  test("reads every bf16", async () => {
    const found = await readFloats(sourceOf("bf16", new Uint8Array(everyHalf.buffer)), "w");
    expect(new Uint32Array(found.buffer).every((value, bits) => value === bits * 65536)).toBe(true);
    expect(found[0x3f80]).toBe(1);
    expect(found[0xc040]).toBe(-3);
  });

  test("rounds f64", async () => {
    const values = Float64Array.of(0.1, -1e300, 2 ** -150);
    const found = await readFloats(sourceOf("f64", new Uint8Array(values.buffer)), "w");
    expect(found).toEqual(Float32Array.of(0.1, Number.NEGATIVE_INFINITY, 0));
  });

  test("reads a part", async () => {
    const found = await readFloats(sourceOf("bf16", new Uint8Array(everyHalf.buffer)), "w", 0x3f80, 0x3f82);
    expect(Array.from(found)).toEqual([1, 1.0078125]);
  });

  test.each<CheckpointDtype>(["i64", "i32", "i16", "i8", "u8", "bool"])("refuses %s", async (dtype) => {
    await expect(readFloats(sourceOf(dtype, new Uint8Array(8)), "w")).rejects.toMatchObject({
      code: "unsupported",
      message: expect.stringMatching(new RegExp(`model\\.safetensors, tensor w.*found ${dtype}`)),
    });
  });
});

test("floatPieces covers a large tensor in order, each piece bounded", async () => {
  const values = Float32Array.from({ length: (1 << 22) + 5 }, (_, i) => i % 1000);
  let expected = 0;
  for await (const { offset, piece } of floatPieces(
    sourceOf("f32", new Uint8Array(values.buffer)),
    "w",
    3,
    values.length,
  )) {
    expect(offset).toBe(expected);
    expect(piece.length).toBeLessThanOrEqual(1 << 22);
    expect(piece[0]).toBe(values[3 + offset]);
    expect(piece.at(-1)).toBe(values[3 + offset + piece.length - 1]);
    expected += piece.length;
  }
  expect(expected).toBe(values.length - 3);
});
