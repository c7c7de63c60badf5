/** Safetensors files of tests, read whole and written again with changes. */
import { readFile, writeFile } from "node:fs/promises";
import { readSafetensors, type TensorToWrite, writeSafetensors } from "../../src/state/safetensors.js";

/** All tensors of a file, with bytes of their own. */
export async function readTensorFile(path: string): Promise<TensorToWrite[]> {
  const bytes = new Uint8Array(await readFile(path));
  return [...readSafetensors(bytes, path).tensors].map(([name, { dtype, shape, begin, end }]) => ({
    name,
    dtype,
    shape,
    bytes: bytes.slice(begin, end),
  }));
}

export async function writeTensorFile(path: string, tensors: readonly TensorToWrite[]): Promise<void> {
  await writeFile(path, writeSafetensors([...tensors], { format: "pt" }));
}

export function findTensor(tensors: readonly TensorToWrite[], name: string): TensorToWrite {
  const tensor = tensors.find((candidate) => candidate.name === name);
  if (!tensor) throw new Error(`no tensor ${name} among ${tensors.length}`);
  return tensor;
}

/** Values of an F32, F64 or I64 tensor. */
export function values({ name, dtype, bytes }: TensorToWrite): number[] {
  const { buffer } = bytes.slice();
  if (dtype === "F32") return Array.from(new Float32Array(buffer));
  if (dtype === "F64") return Array.from(new Float64Array(buffer));
  if (dtype === "I64") return Array.from(new BigInt64Array(buffer), Number);
  throw new Error(`tensor ${name} is ${dtype}`);
}
