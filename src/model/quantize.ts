/**
 * Weights as small integers in blocks that share a scale, in the layout of ONNX Runtime's MatMulNBits: rows are cut
 * into blocks, a weight is (code - zero) x scale, and two 4-bit codes share a byte, the first in its low half.
 */

export const weightDtypes = ["f32", "q8", "q4"] as const;

/** How a model's matrices are stored and multiplied. */
export type WeightDtype = (typeof weightDtypes)[number];

/** Those that are stored in blocks. */
export type QuantizedDtype = Exclude<WeightDtype, "f32">;

export const QUANTIZED_BITS: Readonly<Record<QuantizedDtype, 8 | 4>> = { q8: 8, q4: 4 };

/** From large to small: larger blocks take less memory and time. */
const blockSizes = [128, 64, 32] as const;

/** Changes whenever the same weights get other codes or scales: states of the two must not be mixed. */
export const QUANTIZATION_VERSION = 1;

export interface QuantizedRows {
  /** [rows, blocks, block size x bits / 8]; places after the end of a row hold zero. */
  codes: Uint8Array;
  /** [rows, blocks] */
  scales: Float32Array;
}

/** The largest size that rows of this length are cut into without rest, or the smallest there is. */
export function blockSizeOf(rowLength: number): number {
  return blockSizes.find((size) => rowLength % size === 0) ?? blockSizes.at(-1)!;
}

/** Blocks of a row of this length; the last may be cut short. */
export function blocksOf(rowLength: number): number {
  return Math.ceil(rowLength / blockSizeOf(rowLength));
}

/** Rounds each weight to the nearest code of its block. `values` holds whole rows. */
export function quantizeRows(values: Float32Array, rowLength: number, dtype: QuantizedDtype): QuantizedRows {
  const bits = QUANTIZED_BITS[dtype];
  const zero = 2 ** (bits - 1);
  const size = blockSizeOf(rowLength);
  const blocks = (values.length / rowLength) * blocksOf(rowLength);
  const codes = new Uint8Array(blocks * size).fill(zero);
  const scales = new Float32Array(blocks);
  let block = 0;
  for (let row = 0; row < values.length; row += rowLength) {
    for (let start = row; start < row + rowLength; start += size, block++) {
      const weights = values.subarray(start, Math.min(start + size, row + rowLength));
      const scale = dtype === "q8" ? scaleOf8Bits(weights) : scaleOf4Bits(weights);
      scales[block] = scale;
      if (scale === 0) continue;
      const inverse = 1 / scale;
      for (let i = 0; i < weights.length; i++) codes[block * size + i] = zero + code(weights[i]! * inverse, zero);
    }
  }
  return { codes: bits === 8 ? codes : packNibbles(codes), scales };
}

/** The nearest of the codes -zero ... zero - 1 to a number of steps. */
function code(steps: number, zero: number): number {
  const nearest = Math.floor(steps + 0.5);
  return nearest < -zero ? -zero : nearest >= zero ? zero - 1 : nearest;
}

function scaleOf8Bits(weights: Float32Array): number {
  return Math.fround(Math.abs(farthestFromZero(weights)) / 127);
}

/**
 * Numbers of steps that the weight farthest from zero may be away from it, in the direction where codes reach 8 far;
 * negative in the other, where they reach 7. Beyond that it is cut, and the others have finer steps.
 */
const reaches = [8, 7.4, 8.6, 9.2, -7, -7.6, -8.2];

/** The one of several scales that leaves the smallest sum of squared errors. */
function scaleOf4Bits(weights: Float32Array): number {
  const farthest = farthestFromZero(weights);
  let best = 0;
  let least = Number.POSITIVE_INFINITY;
  for (const reach of farthest === 0 ? [] : reaches) {
    const scale = Math.fround(-farthest / reach);
    const inverse = 1 / scale;
    let squares = 0;
    for (let i = 0; i < weights.length; i++) {
      const steps = weights[i]! * inverse;
      const difference = steps - code(steps, 8);
      squares += difference * difference;
    }
    const error = squares * scale * scale;
    if (error >= least) continue;
    least = error;
    best = scale;
  }
  return best;
}

/** 0 where all weights are so small that the step between their codes would have no finite inverse. */
function farthestFromZero(weights: Float32Array): number {
  let farthest = 0;
  for (let i = 0; i < weights.length; i++) if (Math.abs(weights[i]!) > Math.abs(farthest)) farthest = weights[i]!;
  return Math.abs(farthest) < 1e-30 ? 0 : farthest;
}

function packNibbles(codes: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(codes.length / 2);
  for (let i = 0; i < bytes.length; i++) bytes[i] = codes[2 * i]! | (codes[2 * i + 1]! << 4);
  return bytes;
}
