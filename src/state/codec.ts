/**
 * How the values of a state are stored: as they are (f32), rounded to bfloat16 (half the size, 8 bits of precision), or
 * as 8-bit numbers with a scale per row (int8, see int8.ts). Decays never pass through a codec.
 */
import { PicasoError } from "../errors.js";
import { packRows, unpackRows } from "./int8.js";
import type { SafetensorsDtype, TensorToWrite } from "./safetensors.js";

export type Codec = "f32" | "bf16" | "int8";

/** Codecs that turn each value into one stored value by itself. */
export type ElementCodec = Exclude<Codec, "int8">;

interface ValueCodec {
  dtype: SafetensorsDtype;
  /** Largest magnitude that stays finite in this form. */
  largest: number;
  encode(values: Float32Array): Uint8Array;
  decode(bytes: Uint8Array): Float32Array;
}

const LARGEST_FLOAT = 3.4028234663852886e38;

const elementCodecs: Record<ElementCodec, ValueCodec> = {
  f32: { dtype: "F32", largest: LARGEST_FLOAT, encode: bytesOf, decode: floatsOf },
  bf16: { dtype: "BF16", largest: 3.3895313892515355e38, encode: roundToBf16, decode: widenBf16 },
};

export const codecNames: readonly Codec[] = ["f32", "bf16", "int8"];

export function isCodec(name: string): name is Codec {
  return (codecNames as readonly string[]).includes(name);
}

/** {@link codecNames} for messages: `f32, bf16 or int8`. */
export const codecChoice = `${codecNames.slice(0, -1).join(", ")} or ${codecNames.at(-1)}`;

/**
 * Little-endian bytes of the values; bf16 rounds to nearest, ties to even, and keeps infinities and NaN. The bytes may
 * share memory with `values`.
 */
export function encodeValues(codec: ElementCodec, values: Float32Array): Uint8Array {
  return codecOf(codec).encode(values);
}

/** The values in `bytes`; may share memory with them. */
export function decodeValues(codec: ElementCodec, bytes: Uint8Array): Float32Array {
  const { decode, dtype } = codecOf(codec);
  const width = dtype === "F32" ? 4 : 2;
  if (bytes.length % width === 0) return decode(bytes);
  throw new PicasoError("bad-argument", {
    where: `${codec} values`,
    expected: `a multiple of ${width} bytes`,
    found: `${bytes.length}`,
    next: "Pass the bytes of whole values.",
  });
}

/** The tensors that store `values` under `name`. Throws `bad-argument` for values that would not come back finite. */
export function packTensor(codec: Codec, name: string, shape: number[], values: Float32Array): TensorToWrite[] {
  if (codec === "int8") {
    assertWithin(values, LARGEST_FLOAT, "bad-argument", name);
    return packRows(name, shape, values);
  }
  const { dtype, encode, largest } = codecOf(codec);
  assertWithin(values, largest, "bad-argument", name);
  return [{ name, dtype, shape, bytes: encode(values) }];
}

/** What {@link packTensor} stored: values, and for int8 the scale of each row of `width`. */
export interface PackedValues {
  values: Uint8Array;
  scales: Uint8Array | null;
  width: number;
}

/** Reads back a tensor called `name`. Throws `bad-file`, naming `where`, for values that cannot have been stored. */
export function unpackTensor(codec: Codec, packed: PackedValues, name: string, where: string): Float32Array {
  if (codec === "int8") return unpackRows(packed.values, packed.scales!, packed.width, name, where);
  const { decode, largest } = codecOf(codec);
  const values = decode(packed.values);
  assertWithin(values, largest, "bad-file", `${where}, tensor ${name}`);
  return values;
}

function codecOf(codec: ElementCodec): ValueCodec {
  if (Object.hasOwn(elementCodecs, codec)) return elementCodecs[codec];
  throw new PicasoError("bad-argument", {
    where: "codec",
    expected: codecChoice,
    found: String(codec),
    next: "Pass one of these names.",
  });
}

function assertWithin(values: Float32Array, largest: number, code: "bad-argument" | "bad-file", where: string): void {
  // Comparisons that NaN fails too; four at a time take half as long.
  let at = 0;
  for (const last = values.length - 3; at < last; at += 4) {
    const a = Math.abs(values[at]!);
    const b = Math.abs(values[at + 1]!);
    const c = Math.abs(values[at + 2]!);
    const d = Math.abs(values[at + 3]!);
    if (!(a <= largest && b <= largest && c <= largest && d <= largest)) break;
  }
  for (let i = at; i < values.length; i++) {
    if (Math.abs(values[i]!) <= largest) continue;
    throw new PicasoError(code, {
      where: `${where}, value ${i}`,
      expected: `a finite number of at most ${largest}`,
      found: `${values[i]}`,
      next: "The state is damaged: encode the passage again.",
    });
  }
}

function bytesOf(values: Float32Array): Uint8Array {
  assertLittleEndian();
  return new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
}

function floatsOf(bytes: Uint8Array): Float32Array {
  assertLittleEndian();
  const aligned = bytes.byteOffset % 4 === 0 ? bytes : new Uint8Array(bytes);
  return new Float32Array(aligned.buffer, aligned.byteOffset, aligned.length / 4);
}

function roundToBf16(values: Float32Array): Uint8Array {
  assertLittleEndian();
  const bits = new Uint32Array(values.buffer, values.byteOffset, values.length);
  const halves = new Uint16Array(values.length);
  for (let i = 0; i < bits.length; i++) {
    const b = bits[i]!;
    const nan = (b & 0x7fffffff) > 0x7f800000;
    // A NaN whose payload sits in the low half would round to infinity: set the quiet bit instead.
    halves[i] = nan ? (b >>> 16) | 0x40 : (b + 0x7fff + ((b >>> 16) & 1)) >>> 16;
  }
  return new Uint8Array(halves.buffer);
}

function widenBf16(bytes: Uint8Array): Float32Array {
  assertLittleEndian();
  const aligned = bytes.byteOffset % 4 === 0 ? bytes : new Uint8Array(bytes);
  const count = aligned.length / 2;
  const bits = new Int32Array(count);
  // Two a step: twice as fast as one.
  const pairs = new Int32Array(aligned.buffer, aligned.byteOffset, count >> 1);
  for (let i = 0; i < pairs.length; i++) {
    const pair = pairs[i]!;
    bits[2 * i] = pair << 16;
    bits[2 * i + 1] = pair & 0xffff0000;
  }
  if (count % 2 === 1) bits[count - 1] = (aligned[2 * count - 2]! << 16) | (aligned[2 * count - 1]! << 24);
  return new Float32Array(bits.buffer);
}

/** Typed arrays use the machine's byte order; the files are little-endian. */
function assertLittleEndian(): void {
  if (new Uint8Array(new Uint16Array([1]).buffer)[0] === 1) return;
  throw new PicasoError("unsupported", {
    where: "state codec",
    expected: "a little-endian machine",
    found: "a big-endian one",
    next: "Run on x86-64, ARM64 or another little-endian machine.",
  });
}
