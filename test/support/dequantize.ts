/** Quantised weights back to numbers by a plain loop, and a model folder that holds such numbers. */
import { join } from "node:path";
import {
  blockSizeOf,
  blocksOf,
  QUANTIZED_BITS,
  type QuantizedDtype,
  type QuantizedRows,
  quantizeRows,
} from "../../src/model/quantize.js";
import { readTensorFile, values, writeTensorFile } from "./tensor-file.js";

export function dequantizeRows(
  { codes, scales }: QuantizedRows,
  rowLength: number,
  dtype: QuantizedDtype,
): Float32Array {
  const size = blockSizeOf(rowLength);
  const rows = scales.length / blocksOf(rowLength);
  const result = new Float32Array(rows * rowLength);
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < rowLength; column++) {
      const place = row * blocksOf(rowLength) * size + column;
      const scale = scales[Math.floor(place / size)]!;
      const byte = QUANTIZED_BITS[dtype] === 8 ? codes[place]! : codes[Math.floor(place / 2)]!;
      const code = dtype === "q8" ? byte - 128 : (place % 2 === 0 ? byte & 15 : byte >> 4) - 8;
      result[row * rowLength + column] = code * scale;
    }
  }
  return result;
}

/** Replaces the matrices of the checkpoint in `folder` by what is left of them after quantising; embeddings have 8 bits. */
export async function roundMatrices(folder: string, dtype: QuantizedDtype): Promise<void> {
  const path = join(folder, "model.safetensors");
  const tensors = await readTensorFile(path);
  for (const tensor of tensors) {
    if (tensor.shape.length !== 2) continue;
    const rowLength = tensor.shape[1]!;
    const type = /embeddings|lm_head/.test(tensor.name) ? "q8" : dtype;
    const rounded = dequantizeRows(quantizeRows(Float32Array.from(values(tensor)), rowLength, type), rowLength, type);
    tensor.bytes = new Uint8Array(rounded.buffer);
  }
  await writeTensorFile(path, tensors);
}
