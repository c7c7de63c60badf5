import { describe, expect, it } from "vitest";
import { PicasoError } from "../errors.js";
import { type Codec, codecNames, decodeValues, encodeValues } from "./codec.js";
import { ContextState, type StateShape, stateSizes } from "./context-state.js";
import { dataSum, dataSumDigits } from "./data-sum.js";
import { dequantizeRows, quantizeRows } from "./int8.js";
import { readSafetensors, type TensorToWrite, writeSafetensors } from "./safetensors.js";
import { decodeState, decodeStateFile, encodeState } from "./state-file.js";
import { metadataEntries, parseStateHeader, sealHeader } from "./state-header.js";

const shape: StateShape = { layers: 2, heads: 3, stateSize: 4, headDim: 5, convWidth: 3, convDim: 7 };

function makeState(Decays: Float32ArrayConstructor | Float64ArrayConstructor = Float64Array): ContextState {
  const size = stateSizes(shape);
  return new ContextState({
    fingerprint: "model-é",
    shape,
    tokens: 321,
    ssm: Float32Array.from({ length: size.ssm }, (_, i) => Math.sin(i) * 10 ** ((i % 9) - 4)),
    conv: Float32Array.from({ length: size.conv }, (_, i) => Math.cos(i)),
    logDecay: new Decays(Array.from({ length: size.logDecay }, (_, i) => -(i ** 7) / 3)),
  });
}

function errorOf(run: () => unknown): PicasoError {
  try {
    run();
  } catch (error) {
    if (error instanceof PicasoError) return error;
    throw error;
  }
  throw new Error("did not throw");
}

/** What a codec keeps of values in rows of `width`. */
function kept(codec: Codec, values: Float32Array, width: number): Float32Array {
  if (codec !== "int8") return decodeValues(codec, encodeValues(codec, values));
  const { numbers, scales } = quantizeRows(values, width);
  return dequantizeRows(numbers, scales, width);
}

describe.each(codecNames)("%s", (codec) => {
  it.each([Float32Array, Float64Array])("round trip with decays in %o", (Decays) => {
    const state = makeState(Decays);
    const bytes = encodeState(state, { codec, textHash: "abc", extra: { source: 'a "b" é', codec: "mine" } });
    const { state: again, metadata } = decodeStateFile(bytes, "f");
    expect(again.logDecay).toEqual(state.logDecay);
    expect(again.logDecay).toBeInstanceOf(Decays);
    expect(again.ssm).toEqual(kept(codec, state.ssm, shape.headDim));
    expect(again.conv).toEqual(kept(codec, state.conv, shape.convDim));
    expect(again.shape).toEqual(shape);
    expect(again).toMatchObject({ fingerprint: "model-é", tokens: 321 });
    expect(metadata).toEqual({
      fingerprint: "model-é",
      tokens: 321,
      codec,
      textHash: "abc",
      extra: { source: 'a "b" é', codec: "mine" },
      dataSum: dataSumDigits(dataSum(bytes.subarray(readSafetensors(bytes, "f").dataStart))),
    });
  });

  it("every flipped bit is found", () => {
    const bytes = encodeState(makeState(), { codec });
    for (let i = 0; i < bytes.length; i++) {
      const bit = 1 << (i % 8);
      bytes[i]! ^= bit;
      errorOf(() => decodeState(bytes, "f"));
      bytes[i]! ^= bit;
    }
    decodeState(bytes, "f");
  });

  it("every truncation is found", () => {
    const bytes = encodeState(makeState(), { codec });
    for (let length = 0; length < bytes.length; length++) errorOf(() => decodeState(bytes.subarray(0, length), "f"));
  });

  it("toBytes and fromBytes, with bytes at an odd offset of a Buffer", () => {
    const state = makeState();
    const bytes = state.toBytes(codec);
    expect(bytes).toEqual(encodeState(state, { codec }));
    const shifted = Buffer.concat([Buffer.alloc(3), bytes]).subarray(3);
    expect(ContextState.fromBytes(shifted).ssm).toEqual(ContextState.fromBytes(bytes).ssm);
    expect(errorOf(() => ContextState.fromBytes(bytes.subarray(1), "here")).details.where).toMatch(/^here/);
  });
});

it("f32 values come back bit for bit, and the default codec is f32", () => {
  const state = makeState();
  expect(ContextState.fromBytes(state.toBytes())).toEqual(state);
});

it("flipping every bit of every header byte is found", () => {
  const bytes = encodeState(makeState(), { codec: "f32", extra: { note: "é" } });
  const { dataStart } = readSafetensors(bytes, "f");
  for (let i = 0; i < dataStart * 8; i++) {
    bytes[i >> 3]! ^= 1 << (i & 7);
    errorOf(() => decodeState(bytes, "f"));
    bytes[i >> 3]! ^= 1 << (i & 7);
  }
});

it("the header can be verified without the data", () => {
  const bytes = encodeState(makeState(), { codec: "bf16" });
  const { dataStart } = readSafetensors(bytes, "f");
  const { metadata, header } = parseStateHeader(bytes.slice(8, dataStart), bytes.length, "f");
  expect(metadata).toMatchObject({ tokens: 321, codec: "bf16" });
  expect(header.tensors.get("ssm")!.shape).toEqual([2, 3, 4, 5]);
});

describe("files with right checksums that lie", () => {
  /** A state file with some of its parts replaced and both checksums made to fit. */
  function forge(
    change: (tensors: TensorToWrite[], metadata: Record<string, string>) => void,
    codec: Codec = "f32",
  ): Uint8Array {
    const bytes = encodeState(makeState(), { codec });
    const { tensors, metadata } = readSafetensors(bytes, "f");
    const parts = [...tensors].map(([name, { dtype, shape, begin, end }]) => {
      return { name, dtype, shape, bytes: bytes.slice(begin, end) };
    });
    change(parts, metadata);
    metadata.dataSum = "0".repeat(32);
    metadata.headerCrc32 = "00000000";
    const forged = writeSafetensors(parts, metadata);
    sealHeader(forged);
    return forged;
  }
  const part = (parts: TensorToWrite[], name: string) => parts.find((p) => p.name === name)!;
  const setFloat = (p: TensorToWrite, i: number, value: number) =>
    new DataView(p.bytes.buffer).setFloat32(4 * i, value, true);
  const setDouble = (p: TensorToWrite, i: number, value: number) =>
    new DataView(p.bytes.buffer).setFloat64(8 * i, value, true);

  it("a forged file without a change is read", () => {
    expect(
      decodeState(
        forge(() => {}),
        "f",
      ),
    ).toEqual(makeState());
  });

  const cases: [string, Parameters<typeof forge>[0], RegExp, string?][] = [
    ["no ssm", (t) => t.splice(1, 1), /a tensor ssm, found logDecay,conv/],
    ["no conv", (t) => t.splice(2, 1), /a tensor conv/],
    ["no logDecay", (t) => t.splice(0, 1), /a tensor logDecay/],
    ["another tensor", (t) => t.push({ name: "x", dtype: "U8", shape: [1], bytes: new Uint8Array(1) }), /named "x"/],
    ["integers in ssm", (t) => Object.assign(part(t, "ssm"), { dtype: "I32" }), /ssm: expected dtype F32 .* I32/],
    ["integers in logDecay", (t) => Object.assign(part(t, "logDecay"), { dtype: "I64" }), /F64 or F32, found I64/],
    ["codec bf16 with f32 tensors", (_, m) => Object.assign(m, { codec: "bf16" }), /dtype BF16 for codec bf16/],
    ["ssm of rank 3", (t) => Object.assign(part(t, "ssm"), { shape: [6, 4, 5] }), /shape \[L, H, N, P\]/],
    ["conv of rank 2", (t) => Object.assign(part(t, "conv"), { shape: [2, 21] }), /shape \[L, W, C\]/],
    ["logDecay of rank 1", (t) => Object.assign(part(t, "logDecay"), { shape: [6] }), /shape \[L, H\]/],
    ["other layers in conv", (t) => Object.assign(part(t, "conv"), { shape: [1, 6, 7] }), /the same L/],
    ["other layers in logDecay", (t) => Object.assign(part(t, "logDecay"), { shape: [3, 2] }), /the same L/],
    ["other heads in ssm", (t) => Object.assign(part(t, "ssm"), { shape: [2, 4, 3, 5] }), /the same H/],
    ["NaN in ssm", (t) => setFloat(part(t, "ssm"), 7, NaN), /tensor ssm, value 7: .* found NaN/],
    ["infinity in ssm", (t) => setFloat(part(t, "ssm"), 119, Infinity), /tensor ssm, value 119/],
    ["infinity in conv", (t) => setFloat(part(t, "conv"), 0, -Infinity), /tensor conv, value 0/],
    ["NaN in logDecay", (t) => setDouble(part(t, "logDecay"), 2, NaN), /logDecay, value 2: .*found NaN/],
    ["minus infinity in logDecay", (t) => setDouble(part(t, "logDecay"), 2, -Infinity), /found -Infinity/],
    ["a positive logDecay", (t) => setDouble(part(t, "logDecay"), 5, 1e-300), /logDecay, value 5: .*found 1e-300/],
    ["no format", (_, m) => delete m.format, /metadata format: .*found nothing/],
    ["another format", (_, m) => Object.assign(m, { format: "pt" }), /metadata format/],
    ["no version", (_, m) => delete m.version, /metadata version/],
    ["another version", (_, m) => Object.assign(m, { version: "3" }), /expected 2, found 3. .*other/, "unsupported"],
    [
      "an unknown codec",
      (_, m) => Object.assign(m, { codec: "int3" }),
      /f32, bf16 or int8, found "int3"/,
      "unsupported",
    ],
    ["a codec named like a property", (_, m) => Object.assign(m, { codec: "toString" }), /codec/, "unsupported"],
    ["no codec", (_, m) => delete m.codec, /metadata codec/],
    ["no fingerprint", (_, m) => delete m.fingerprint, /metadata fingerprint/],
    ["no tokens", (_, m) => delete m.tokens, /metadata tokens/],
    ["negative tokens", (_, m) => Object.assign(m, { tokens: "-1" }), /metadata tokens: .*"-1"/],
    ["fractional tokens", (_, m) => Object.assign(m, { tokens: "1.5" }), /metadata tokens/],
    ["tokens beyond 2^53", (_, m) => Object.assign(m, { tokens: "9007199254740993" }), /metadata tokens/],
    ["metadata of other forms", (_, m) => Object.assign(m, { version: "one" }), /metadata version/],
  ];

  it.each(cases)("%s", (_, change, message, code = "bad-file") => {
    const error = errorOf(() => decodeState(forge(change), "f"));
    expect(error.code).toBe(code);
    expect(error.message).toMatch(message);
    expect(error.details.where).toMatch(/^f/);
  });

  const rowCases: [string, Parameters<typeof forge>[0], RegExp][] = [
    ["no scales", (t) => t.splice(1, 1), /a tensor ssm\.scale/],
    ["no numbers", (t) => t.splice(2, 1), /a tensor ssm, found/],
    [
      "too few scales",
      (t) => Object.assign(part(t, "ssm.scale"), { shape: [2, 3, 2], bytes: new Uint8Array(48) }),
      /one scale for each row, found \[2,3,2\]/,
    ],
    [
      "scales of another shape",
      (t) => Object.assign(part(t, "ssm.scale"), { shape: [24] }),
      /ssm\.scale: expected shape \[L, H, N\]/,
    ],
    [
      "scales that are integers",
      (t) => Object.assign(part(t, "conv.scale"), { dtype: "I32" }),
      /dtype F32 for codec int8, found I32/,
    ],
    [
      "numbers without a sign",
      (t) => Object.assign(part(t, "ssm"), { dtype: "U8" }),
      /dtype I8 for codec int8, found U8/,
    ],
    ["numbers without rows", (t) => Object.assign(part(t, "ssm"), { shape: [120] }), /shape \[L, H, N, P\]/],
    ["a scalar", (t) => Object.assign(part(t, "conv"), { shape: [], bytes: new Uint8Array(1) }), /shape \[L, W, C\]/],
    ["a number of -128", (t) => part(t, "ssm").bytes.fill(0x80, 7, 8), /ssm, value 7: .* from -127 to 127, found -128/],
    ["a scale of NaN", (t) => setFloat(part(t, "ssm.scale"), 3, NaN), /ssm\.scale, value 3: .* found NaN/],
    ["an infinite scale", (t) => setFloat(part(t, "conv.scale"), 0, Infinity), /conv\.scale, value 0/],
    ["a negative scale", (t) => setFloat(part(t, "ssm.scale"), 23, -1), /ssm\.scale, value 23: .* found -1/],
    ["a scale whose row overflows", (t) => setFloat(part(t, "ssm.scale"), 0, 3e38), /ssm\.scale, value 0/],
    [
      "f32 tensors",
      (t) => t.splice(1, 4, ...["ssm", "conv"].map((name) => f32Part(name))),
      /dtype I8 for codec int8, found F32/,
    ],
  ];
  const f32Part = (name: string): TensorToWrite => {
    const bytes = encodeState(makeState(), { codec: "f32" });
    const { dtype, shape, begin, end } = readSafetensors(bytes, "f").tensors.get(name)!;
    return { name, dtype, shape, bytes: bytes.slice(begin, end) };
  };

  it.each(rowCases)("int8 with %s", (_, change, message) => {
    const error = errorOf(() => decodeState(forge(change, "int8"), "f"));
    expect(error.code).toBe("bad-file");
    expect(error.message).toMatch(message);
  });

  it.each(["dataSum", "headerCrc32"])("a wrong or missing %s", (key) => {
    const bytes = encodeState(makeState(), { codec: "f32" });
    const text = Buffer.from(bytes).toString("latin1");
    const at = text.indexOf(key);
    const missing = bytes.slice();
    missing[at] = 0x78;
    expect(errorOf(() => decodeState(missing, "f")).code).toBe("bad-file");
    const wrong = bytes.slice();
    const digit = at + key.length + 3;
    wrong[digit] = wrong[digit] === 0x30 ? 0x31 : 0x30;
    expect(errorOf(() => decodeState(wrong, "f")).message).toMatch(/CRC-32|checksum/);
  });

  it("a header spelled with other white space", () => {
    const bytes = encodeState(makeState(), { codec: "f32" });
    const { dataStart } = readSafetensors(bytes, "f");
    const text = Buffer.from(bytes.subarray(8, dataStart)).toString().trimEnd();
    const spaced = Buffer.from(text.replace('"headerCrc32":', '"headerCrc32": '));
    const error = errorOf(() => parseStateHeader(spaced, spaced.length + 8 + bytes.length - dataStart, "f"));
    expect(error.message).toMatch(/another spelling/);
  });

  it("a plain safetensors file", () => {
    expect(errorOf(() => decodeState(writeSafetensors([], {}), "f")).message).toMatch(/metadata format/);
  });
});

describe("states that cannot be stored", () => {
  it.each<[string, Partial<ContextState>, RegExp]>([
    ["a NaN in ssm", { ssm: new Float32Array(120).fill(NaN) }, /ssm, value 0/],
    ["an infinity in conv", { conv: new Float32Array(42).fill(Infinity) }, /conv, value 0/],
    ["a positive decay", { logDecay: new Float64Array(6).fill(0.1) }, /logDecay, value 0/],
    ["a decay of minus infinity", { logDecay: new Float32Array(6).fill(-Infinity) }, /logDecay, value 0/],
    ["a NaN decay", { logDecay: new Float64Array(6).fill(NaN) }, /logDecay, value 0/],
    ["a fraction of a token", { tokens: 1.5 }, /tokens/],
    ["a fingerprint that is no string", { fingerprint: 7 as unknown as string }, /fingerprint/],
  ])("%s", (_, change, message) => {
    const state = new ContextState({ ...makeState(), ...change });
    const error = errorOf(() => state.toBytes());
    expect(error.code).toBe("bad-argument");
    expect(error.message).toMatch(message);
  });

  it("extra metadata that is no string", () => {
    const extra = { page: 3 } as unknown as Record<string, string>;
    expect(errorOf(() => encodeState(makeState(), { codec: "f32", extra })).message).toMatch(/extra\.page/);
  });

  it("metadata entries are checked on their own", () => {
    const meta = { fingerprint: "f", tokens: -1, codec: "f32" as const, extra: {} };
    expect(errorOf(() => metadataEntries(meta)).code).toBe("bad-argument");
  });
});
