/** Checkpoint bytes to float32, piece by piece so that a large tensor is never held twice. */
import { PicasoError } from "../../errors.js";
import { type CheckpointDtype, dtypeBytes, type TensorSource } from "./tensor-source.js";

const pieceElements = 1 << 22;

/** The values `[from, to)` of a tensor as float32; f32, f16, bf16 and f64 tensors only. */
export async function readFloats(source: TensorSource, name: string, from = 0, to?: number): Promise<Float32Array> {
  const tensor = source.tensors.get(name);
  const end = to ?? (tensor ? tensor.shape.reduce((a, b) => a * b, 1) : 0);
  const values = new Float32Array(end - from);
  for await (const { offset, piece } of floatPieces(source, name, from, end)) values.set(piece, offset);
  return values;
}

/** The same in pieces of about 16 MB, each a multiple of `unit` elements, `offset` counted from `from`. */
export async function* floatPieces(source: TensorSource, name: string, from: number, to: number, unit = 1) {
  const dtype = source.tensors.get(name)?.dtype ?? "f32";
  const size = dtypeBytes[dtype];
  const step = Math.max(1, Math.floor(pieceElements / unit)) * unit;
  for (let start = from; start < to; start += step) {
    const end = Math.min(to, start + step);
    const bytes = await source.read(name, start * size, end * size);
    yield { offset: start - from, piece: toFloats(bytes, dtype, `${source.where(name)}, tensor ${name}`) };
  }
}

function toFloats(bytes: Uint8Array, dtype: CheckpointDtype, where: string): Float32Array {
  // Typed arrays need aligned bytes; a fresh read always is.
  const buffer = bytes.byteOffset % 8 === 0 ? bytes : bytes.slice();
  const at = [buffer.buffer, buffer.byteOffset, bytes.length / dtypeBytes[dtype]] as const;
  switch (dtype) {
    case "f32":
      return new Float32Array(...at);
    case "f64":
      return Float32Array.from(new Float64Array(...at));
    case "bf16":
      return bf16ToF32(new Uint16Array(...at));
    case "f16":
      return f16ToF32(new Uint16Array(...at));
    default:
      throw new PicasoError("unsupported", {
        where,
        expected: "weights in f32, f16, bf16 or f64",
        found: dtype,
        next: "Convert the checkpoint to one of these types.",
      });
  }
}

function bf16ToF32(half: Uint16Array): Float32Array {
  const bits = new Uint32Array(half.length);
  for (let i = 0; i < half.length; i++) bits[i] = half[i]! << 16;
  return new Float32Array(bits.buffer);
}

/** The value of every half float by its bits: looking them up takes a tenth of the time of working them out. */
let halfValues: Float32Array | undefined;

function f16ToF32(half: Uint16Array): Float32Array {
  halfValues ??= Float32Array.from({ length: 65536 }, (_, bits) => halfValue(bits));
  const values = new Float32Array(half.length);
  for (let i = 0; i < half.length; i++) values[i] = halfValues[half[i]!]!;
  return values;
}

function halfValue(bits: number): number {
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 1023;
  const sign = bits & 0x8000 ? -1 : 1;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 31) return fraction ? Number.NaN : sign * Number.POSITIVE_INFINITY;
  return sign * (1024 + fraction) * 2 ** (exponent - 25);
}
