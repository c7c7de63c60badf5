/**
 * The codec int8: each row (the values along the last axis) is stored as whole numbers from -127 to 127 and one float32
 * scale, the row's largest magnitude / 127. A value is `scale * number`, off by at most half a scale. For the ssm of a
 * state a row is the headDim values of one state index: rows differ in size by orders of magnitude, values within one
 * much less.
 */
import { PicasoError } from "../errors.js";
import type { TensorToWrite } from "./safetensors.js";

/** Steps on either side of zero; -128 is not used, so that negation is exact. */
const STEPS = 127;

/** The largest float32 that stays finite times 127. */
const LARGEST_SCALE = 2.6793883890187504e36;

/** The tensor with the scales of `name`'s rows. */
export function scaleName(name: string): string {
  return `${name}.scale`;
}

/** Numbers and scales of finite values in rows of `width`. */
export function quantizeRows(values: Float32Array, width: number): { numbers: Int8Array; scales: Float32Array } {
  const numbers = new Int8Array(values.length);
  const scales = new Float32Array(width === 0 ? 0 : values.length / width);
  for (let row = 0; row < scales.length; row++) {
    const [begin, end] = [row * width, (row + 1) * width];
    let largest = 0;
    for (let i = begin; i < end; i++) largest = Math.max(largest, Math.abs(values[i]!));
    scales[row] = Math.min(largest / STEPS, LARGEST_SCALE);
    const scale = scales[row]!;
    // Zeros, or values so small that the scale is below the smallest float32: the row stays zero.
    if (scale === 0) continue;
    for (let i = begin; i < end; i++) {
      const steps = values[i]! / scale;
      // To the nearest, ties away from zero, so that negated values have negated numbers. The bounds matter where the
      // scale was rounded down: among the smallest float32 that is by up to a third.
      numbers[i] = Math.max(-STEPS, Math.min(STEPS, steps < 0 ? steps - 0.5 : steps + 0.5));
    }
  }
  return { numbers, scales };
}

/** The values of rows of `width` numbers, each product rounded to float32. */
export function dequantizeRows(numbers: Int8Array, scales: Float32Array, width: number): Float32Array {
  const values = new Float32Array(numbers.length);
  for (let row = 0; row < scales.length; row++) {
    const scale = scales[row]!;
    for (let i = row * width; i < (row + 1) * width; i++) values[i] = scale * numbers[i]!;
  }
  return values;
}

/** The tensors that store `values`, which are finite: the scales under {@link scaleName}, then the numbers. */
export function packRows(name: string, shape: number[], values: Float32Array): TensorToWrite[] {
  const { numbers, scales } = quantizeRows(values, shape.at(-1)!);
  return [
    { name: scaleName(name), dtype: "F32", shape: shape.slice(0, -1), bytes: bytesOf(scales) },
    { name, dtype: "I8", shape, bytes: bytesOf(numbers) },
  ];
}

/** Reads back what {@link packRows} stored. Throws `bad-file`, naming `where`, for values it cannot have written. */
export function unpackRows(
  numberBytes: Uint8Array,
  scaleBytes: Uint8Array,
  width: number,
  name: string,
  where: string,
): Float32Array {
  const scales = new Float32Array(new Uint8Array(scaleBytes).buffer);
  const numbers = new Int8Array(numberBytes.buffer, numberBytes.byteOffset, numberBytes.length);
  assertScales(scales, `${where}, tensor ${scaleName(name)}`);
  const wrong = numbers.indexOf(-STEPS - 1);
  if (wrong === -1) return dequantizeRows(numbers, scales, width);
  throw bad(`${where}, tensor ${name}, value ${wrong}`, `a number from -${STEPS} to ${STEPS}`, `${numbers[wrong]}`);
}

/** Written so that NaN, which compares false, is caught too. */
function assertScales(scales: Float32Array, where: string): void {
  const wrong = scales.findIndex((scale) => !(scale >= 0 && scale <= LARGEST_SCALE));
  if (wrong === -1) return;
  throw bad(`${where}, value ${wrong}`, `a number from 0 to ${LARGEST_SCALE}`, `${scales[wrong]}`);
}

function bytesOf(array: Float32Array | Int8Array): Uint8Array {
  return new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
}

function bad(where: string, expected: string, found: string): PicasoError {
  const next = "The file was not written by this program, or is damaged: encode the passage again.";
  return new PicasoError("bad-file", { where, expected, found, next });
}
