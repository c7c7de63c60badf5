/**
 * Weights as small integers in blocks that share a scale, in the layout of ONNX Runtime's MatMulNBits: rows are cut
 * into blocks of 32, a weight is (code - zero) x scale, and two 4-bit codes share a byte, the first in its low half.
 */

export const weightDtypes = ["f32", "q8", "q4"] as const;

/** How a model's matrices are stored and multiplied. */
export type WeightDtype = (typeof weightDtypes)[number];

/** Those that are stored in blocks. */
export type QuantizedDtype = Exclude<WeightDtype, "f32">;

export const QUANTIZED_BITS: Readonly<Record<QuantizedDtype, 8 | 4>> = { q8: 8, q4: 4 };

export const BLOCK_SIZE = 32;

/** Changes whenever the same weights get other codes or scales: states of the two must not be mixed. */
export const QUANTIZATION_VERSION = 1;

export interface QuantizedRows {
  /** [rows, blocks, BLOCK_SIZE x bits / 8]; places after the end of a row hold zero. */
  codes: Uint8Array;
  /** [rows, blocks] */
  scales: Float32Array;
}

/** Blocks of a row of this length; the last may be cut short. */
export function blocksOf(rowLength: number): number {
  return Math.ceil(rowLength / BLOCK_SIZE);
}

/** Rounds each weight to the nearest code of its block. `values` holds whole rows. */
export function quantizeRows(values: Float32Array, rowLength: number, dtype: QuantizedDtype): QuantizedRows {
  const bits = QUANTIZED_BITS[dtype];
  const blocks = (values.length / rowLength) * blocksOf(rowLength);
  const codes = new Uint8Array(blocks * BLOCK_SIZE);
  const scales = new Float32Array(blocks);
  let block = 0;
  for (let row = 0; row < values.length; row += rowLength) {
    for (let start = row; start < row + rowLength; start += BLOCK_SIZE, block++) {
      const end = Math.min(start + BLOCK_SIZE, row + rowLength);
      scales[block] = quantizeBlock(values, start, end, bits, codes, block * BLOCK_SIZE);
    }
  }
  return { codes: bits === 8 ? codes : packNibbles(codes), scales };
}

/** Writes a block's codes and returns its scale. */
function quantizeBlock(
  values: Float32Array,
  start: number,
  end: number,
  bits: number,
  codes: Uint8Array,
  at: number,
): number {
  const zero = 2 ** (bits - 1);
  let farthest = 0;
  for (let i = start; i < end; i++) if (Math.abs(values[i]!) > Math.abs(farthest)) farthest = values[i]!;
  // Codes reach one step farther below the zero code than above it. With 4 bits the weight farthest from zero gets that
  // step; with 8 it would gain little, and cut a weight as far on the other side by a whole step.
  const scale = Math.fround(bits === 4 ? -farthest / zero : Math.abs(farthest) / (zero - 1));
  codes.fill(zero, at, at + BLOCK_SIZE);
  if (scale === 0) return 0;
  for (let i = start; i < end; i++) {
    codes[at + i - start] = Math.min(2 * zero - 1, Math.round(values[i]! / scale) + zero);
  }
  return scale;
}

function packNibbles(codes: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(codes.length / 2);
  for (let i = 0; i < bytes.length; i++) bytes[i] = codes[2 * i]! | (codes[2 * i + 1]! << 4);
  return bytes;
}
