/**
 * Writes safetensors files tensor by tensor, without a copy of the whole, and splits large sets of tensors over several
 * files with an index, as Hugging Face does.
 */
import { open, writeFile } from "node:fs/promises";
import { join } from "node:path";

export interface TensorToStore {
  name: string;
  shape: readonly number[];
  dtype: "F32" | "BF16";
  data: Float32Array;
}

const elementBytes = { F32: 4, BF16: 2 } as const;

/** Writes one file; the metadata says `format: pt`, which other readers ask for. */
export async function writeTensors(path: string, tensors: readonly TensorToStore[]): Promise<void> {
  const header: Record<string, unknown> = { __metadata__: { format: "pt" } };
  let offset = 0;
  for (const tensor of tensors) {
    const end = offset + byteLength(tensor);
    header[tensor.name] = { dtype: tensor.dtype, shape: tensor.shape, data_offsets: [offset, end] };
    offset = end;
  }
  const text = new TextEncoder().encode(JSON.stringify(header));
  const start = new Uint8Array(8 + Math.ceil(text.length / 8) * 8).fill(0x20);
  new DataView(start.buffer).setBigUint64(0, BigInt(start.length - 8), true);
  start.set(text, 8);
  const file = await open(path, "w");
  try {
    await file.writeFile(start);
    for (const tensor of tensors) {
      const bytes = tensor.dtype === "F32" ? tensor.data : toBf16(tensor.data);
      await file.writeFile(new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength));
    }
    await file.sync();
  } finally {
    await file.close();
  }
}

/**
 * Writes `{name}.safetensors` into the folder, or `{name}-00001-of-0000n.safetensors` with
 * `{name}.safetensors.index.json` where the tensors have more than `maxBytes`.
 */
export async function writeShardedTensors(
  folder: string,
  name: string,
  tensors: readonly TensorToStore[],
  maxBytes: number,
): Promise<void> {
  const shards = split(tensors, maxBytes);
  if (shards.length === 1) return writeTensors(join(folder, `${name}.safetensors`), tensors);
  const number = (index: number) => String(index).padStart(5, "0");
  const weightMap: Record<string, string> = {};
  for (const [index, shard] of shards.entries()) {
    const file = `${name}-${number(index + 1)}-of-${number(shards.length)}.safetensors`;
    await writeTensors(join(folder, file), shard);
    for (const tensor of shard) weightMap[tensor.name] = file;
  }
  const total = tensors.reduce((sum, tensor) => sum + byteLength(tensor), 0);
  const index = { metadata: { total_size: total }, weight_map: weightMap };
  await writeFile(join(folder, `${name}.safetensors.index.json`), JSON.stringify(index, null, 1), { flush: true });
}

/** Consecutive tensors together, as many as fit; one that alone is larger gets a file of its own. */
function split(tensors: readonly TensorToStore[], maxBytes: number): TensorToStore[][] {
  const shards: TensorToStore[][] = [[]];
  let size = 0;
  for (const tensor of tensors) {
    const bytes = byteLength(tensor);
    if (size > 0 && size + bytes > maxBytes) {
      shards.push([]);
      size = 0;
    }
    shards.at(-1)!.push(tensor);
    size += bytes;
  }
  return shards;
}

function byteLength({ shape, dtype }: TensorToStore): number {
  return shape.reduce((a, b) => a * b, elementBytes[dtype]);
}

/** Rounds to the nearest bfloat16, ties to even. */
export function toBf16(values: Float32Array): Uint16Array {
  const bits = new Uint32Array(values.buffer, values.byteOffset, values.length);
  const rounded = new Uint16Array(values.length);
  for (let i = 0; i < bits.length; i++) {
    const word = bits[i]!;
    // Rounding could carry a NaN into an infinity.
    rounded[i] = Number.isNaN(values[i]!) ? 0x7fc0 : (word + 0x7fff + ((word >>> 16) & 1)) >>> 16;
  }
  return rounded;
}
