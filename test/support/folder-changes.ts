/** Ways to damage a model folder of the golden-g1 checkpoint, for tests of what is refused. */
import { mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { TensorToWrite } from "../../src/state/safetensors.js";
import { findTensor, readTensorFile, writeTensorFile } from "./tensor-file.js";
import { tinyTokenizer } from "./tiny-tokenizer.js";

/** Changes the folder it is given. */
export type Change = (folder: string) => Promise<unknown>;

export const weightsFile = "model.safetensors";
export const indexFile = "model.safetensors.index.json";

/** Leaves what stands under the name, if anything, and puts a text there. */
export function writeText(file: string, text: string): Change {
  return (folder) => writeFile(join(folder, file), text);
}

export function writeJson(file: string, value: unknown): Change {
  return writeText(file, JSON.stringify(value));
}

export function editBytes(file: string, edit: (bytes: Buffer) => Uint8Array | string): Change {
  return async (folder) => writeFile(join(folder, file), edit(await readFile(join(folder, file))));
}

export function remove(file: string): Change {
  return (folder) => rm(join(folder, file));
}

/** A folder in place of the file. */
export function asFolder(file: string): Change {
  return async (folder) => {
    await rm(join(folder, file), { force: true });
    await mkdir(join(folder, file));
  };
}

/** Replaces a text in the weights' JSON header by one of the same length. */
export function editHeader(from: string, to: string): Change {
  return editBytes(weightsFile, (bytes) => {
    const at = bytes.indexOf(from);
    if (at < 0 || from.length !== to.length) throw new Error(`no ${from} that could become ${to}`);
    bytes.write(to, at);
    return bytes;
  });
}

/** Changes the length of the weights' JSON header, which stands in the first 8 bytes. */
export function headerLength(change: (length: number, fileSize: number) => bigint): Change {
  return editBytes(weightsFile, (bytes) => {
    bytes.writeBigUInt64LE(change(Number(bytes.readBigUInt64LE()), bytes.length));
    return bytes;
  });
}

/** Weights with a header of one's own, as text or as the value of one tensor `w`, and 64 bytes of data. */
export function ownHeader(header: string | { dtype: string; shape: number[]; data_offsets: number[] }): Change {
  const json = Buffer.from(typeof header === "string" ? header : JSON.stringify({ w: header }));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(json.length));
  return (folder) => writeFile(join(folder, weightsFile), Buffer.concat([length, json, Buffer.alloc(64)]));
}

/** Writes the weights again with other tensors, or with those that `edit` changed in place. */
export function editTensors(edit: (tensors: TensorToWrite[]) => TensorToWrite[] | undefined): Change {
  return async (folder) => {
    const tensors = await readTensorFile(join(folder, weightsFile));
    await writeTensorFile(join(folder, weightsFile), edit(tensors) ?? tensors);
  };
}

export function editTensor(name: string, edit: (tensor: TensorToWrite) => Partial<TensorToWrite>): Change {
  return editTensors((tensors) => {
    const tensor = findTensor(tensors, name);
    Object.assign(tensor, edit(tensor));
    return undefined;
  });
}

/** Sets the value at index `at` of a float32 tensor. */
export function setWeight(name: string, at: number, value: number): Change {
  return editTensor(name, ({ bytes }) => {
    new DataView(bytes.buffer).setFloat32(4 * at, value, true);
    return { bytes };
  });
}

export function editConfig(fields: Record<string, unknown>): Change {
  return editBytes("config.json", (bytes) => JSON.stringify({ ...JSON.parse(bytes.toString()), ...fields }));
}

/** Changes fields of tokenizer.json and of the `model` in it; `undefined` removes a field. */
export function editTokenizer(fields: Record<string, unknown>, model: Record<string, unknown> = {}): Change {
  const file = JSON.parse(tinyTokenizer(288));
  return writeJson("tokenizer.json", { ...file, model: { ...file.model, ...model }, ...fields });
}

/** Two shards in place of the single weights file: the first half of the tensors in a, the rest in b. */
export async function splitWeights(folder: string): Promise<Record<string, string>> {
  const tensors = await readTensorFile(join(folder, weightsFile));
  await rm(join(folder, weightsFile));
  const half = tensors.length >> 1;
  await writeTensorFile(join(folder, "a.safetensors"), tensors.slice(0, half));
  await writeTensorFile(join(folder, "b.safetensors"), tensors.slice(half));
  return Object.fromEntries(tensors.map(({ name }, i) => [name, i < half ? "a.safetensors" : "b.safetensors"]));
}

/** Shards, with an index whose `weight_map` has these changes. */
export function shards(changes: Record<string, unknown> = {}, then?: Change): Change {
  return async (folder) => {
    const weightMap = await splitWeights(folder);
    await writeJson(indexFile, { metadata: {}, weight_map: { ...weightMap, ...changes } })(folder);
    await then?.(folder);
  };
}
