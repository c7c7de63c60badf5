import { describe, expect, it } from "vitest";
import { PicasoError } from "../errors.js";
import { decodeValues, type ElementCodec, encodeValues, packTensor } from "./codec.js";

/** The float32 with these bits. */
const float = (bits: number) => new Float32Array(new Uint32Array([bits]).buffer)[0]!;
const bf16Bits = (value: number) => new Uint16Array(encodeValues("bf16", Float32Array.of(value)).slice().buffer)[0]!;

describe("bf16", () => {
  it.each([
    ["zero", 0, 0x0000],
    ["minus zero", -0, 0x8000],
    ["one", 1, 0x3f80],
    ["minus two", -2, 0xc000],
    ["pi", Math.PI, 0x4049],
    ["a third", 1 / 3, 0x3eab],
    ["below a tie", float(0x3f807fff), 0x3f80],
    ["a tie with an even value below", float(0x3f808000), 0x3f80],
    ["above a tie", float(0x3f808001), 0x3f81],
    ["a tie with an odd value below", float(0x3f818000), 0x3f82],
    ["a negative tie", float(0xbf818000), 0xbf82],
    ["a carry into the exponent", float(0x3fffffff), 0x4000],
    ["the smallest subnormal", float(1), 0x0000],
    ["a subnormal tie", float(0x00018000), 0x0002],
    ["the largest float32", float(0x7f7fffff), 0x7f80],
    ["infinity", Infinity, 0x7f80],
    ["minus infinity", -Infinity, 0xff80],
  ])("%s", (_, value, bits) => {
    expect(bf16Bits(value)).toBe(bits);
  });

  it("keeps NaN, with a payload in the low half too", () => {
    for (const bits of [0x7fc00000, 0x7f800001, 0xff800001]) {
      const source = new Float32Array(new Uint32Array([bits]).buffer);
      const coded = new Uint16Array(encodeValues("bf16", source).slice().buffer)[0]!;
      expect(coded & 0x7f80).toBe(0x7f80);
      expect(coded & 0x7f).not.toBe(0);
      expect(decodeValues("bf16", encodeValues("bf16", source))[0]).toBeNaN();
    }
  });

  it("gives back every bf16 value exactly", () => {
    const all = Uint16Array.from({ length: 65536 }, (_, i) => i);
    const values = decodeValues("bf16", new Uint8Array(all.buffer));
    const again = new Uint16Array(encodeValues("bf16", values).slice().buffer);
    // A signalling NaN may come back quiet, as on any hardware: compare NaNs as NaNs.
    const bits = (array: Uint16Array) => array.map((b, i) => (Number.isNaN(values[i]) ? 0x7fc0 : b));
    const expected = bits(all);
    expect(bits(again).findIndex((b, i) => b !== expected[i])).toBe(-1);
    expect(values.filter(Number.isNaN)).toHaveLength(2 * 127);
  });

  it("rounds to the nearest: no bf16 value lies closer", () => {
    const random = new Uint32Array(20_000);
    for (let i = 1; i < random.length; i++) random[i] = Math.imul(random[i - 1]!, 1664525) + 1013904223;
    const wrong = [...random].filter((source) => {
      const value = float(source);
      if (!(Math.abs(value) < 3e38)) return false;
      const bits = bf16Bits(value);
      const distance = (b: number) => Math.abs(float((b & 0xffff) << 16) - value);
      return distance(bits - 1) < distance(bits) || distance(bits + 1) < distance(bits);
    });
    expect(wrong).toEqual([]);
  });
});

describe.each(["f32", "bf16"] as ElementCodec[])("%s", (codec) => {
  it("reads bytes at any offset", () => {
    const values = Float32Array.of(1, -2.5, 0.125, 96, -7);
    const coded = encodeValues(codec, values);
    for (let offset = 0; offset < 5; offset++) {
      // A Buffer, whose slice() would not copy.
      const bytes = Buffer.alloc(coded.length + offset);
      bytes.set(coded, offset);
      expect([...decodeValues(codec, bytes.subarray(offset))]).toEqual([...values]);
    }
  });

  it("refuses part of a value", () => {
    expect(() => decodeValues(codec, new Uint8Array(3))).toThrow(PicasoError);
  });

  it("names the value that is not finite, wherever it stands", () => {
    for (let at = 0; at < 11; at++) {
      const values = new Float32Array(11).fill(1);
      values[at] = NaN;
      expect(() => packTensor(codec, "ssm", [11], values)).toThrow(`ssm, value ${at}: expected a finite`);
    }
  });

  it.each([NaN, Infinity, -Infinity])("packs no %d", (value) => {
    expect(() => packTensor(codec, "ssm", [2], Float32Array.of(1, value))).toThrow(/ssm, value 1: expected a finite/);
  });
});

it("f32 gives back the same bits; its values are little-endian", () => {
  expect([...encodeValues("f32", Float32Array.of(1, -2))]).toEqual([0, 0, 128, 63, 0, 0, 0, 192]);
});

it("bf16 refuses to pack what it would round to infinity", () => {
  expect(() => packTensor("bf16", "ssm", [1], Float32Array.of(float(0x7f7fffff)))).toThrow(/ssm, value 0/);
  expect(packTensor("bf16", "ssm", [1], Float32Array.of(float(0x7f7f0000)))).toHaveLength(1);
});

it("an unknown codec is an error", () => {
  expect(() => encodeValues("toString" as ElementCodec, new Float32Array(1))).toThrow(
    /f32, bf16 or int8, found toString/,
  );
});
