/**
 * Writes the ONNX graph and its weights once per model and dtype into the cache, where later loads find them. Weights
 * pass through memory in pieces.
 */
import { type FileHandle, open, readFile, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { cacheFolder, makeWholeFolder } from "../cache.js";
import { PicasoError, throwIfAborted } from "../errors.js";
import type { TensorSource } from "./checkpoint/tensor-source.js";
import { floatPieces } from "./checkpoint/values.js";
import type { Mamba2Config } from "./config.js";
import { type Device, devicesOf } from "./device.js";
import type { WeightFill } from "./graph-weights.js";
import { buildMamba2Graph, GRAPH_VERSION, WEIGHTS_FILE } from "./mamba2-graph.js";
import { blocksOf, quantizeRows, type WeightDtype } from "./quantize.js";

export interface CompileProgress {
  phase: "compile";
  done: number;
  /** Bytes of weights to write. */
  total: number;
}

export interface CompileOptions {
  dtype: WeightDtype;
  /** Whose graph is wanted. @default "cpu" */
  device?: Device;
  onProgress?: (progress: CompileProgress) => void;
  signal?: AbortSignal;
}

/** The weights are the same for all devices, the graphs are not. */
const graphFiles: Record<Device, string> = { cpu: "model.onnx", webgpu: "model-webgpu.onnx" };
const receiptFile = "compiled.json";

/** Returns the path of the model's graph, compiled now unless the cache has it. `source` holds what `config` says. */
export async function compileModel(
  source: TensorSource,
  config: Mamba2Config,
  fingerprint: string,
  options: CompileOptions,
): Promise<string> {
  const folder = compiledFolder(fingerprint, options.dtype);
  if (!(await isWhole(folder))) {
    await makeWholeFolder(folder, (temporary) => writeCompiled(source, config, temporary, options), isWhole);
  }
  return join(folder, graphFiles[options.device ?? "cpu"]);
}

/** Graphs are built for the processor, and a cache may be on a disk that several share. */
export function compiledFolder(fingerprint: string, dtype: WeightDtype): string {
  return join(cacheFolder(), "compiled", `${fingerprint}-${dtype}-v${GRAPH_VERSION}-${process.arch}`);
}

/** Whether the folder holds what its receipt says; a disk that filled up or a cleaner may have taken part of it. */
async function isWhole(folder: string): Promise<boolean> {
  try {
    const receipt: Record<string, number> = JSON.parse(await readFile(join(folder, receiptFile), "utf8"));
    const files = [graphFiles.cpu, WEIGHTS_FILE, ...Object.keys(receipt)];
    const isThere = async (name: string) => (await stat(join(folder, name))).size === receipt[name];
    return (await Promise.all(files.map(isThere))).every(Boolean);
  } catch {
    return false;
  }
}

async function writeCompiled(
  source: TensorSource,
  config: Mamba2Config,
  folder: string,
  options: CompileOptions,
): Promise<void> {
  const { fills, weightBytes } = buildMamba2Graph(config, options.dtype, "cpu");
  await writeWeights(source, fills, join(folder, WEIGHTS_FILE), weightBytes, options);
  const receipt: Record<string, number> = { [WEIGHTS_FILE]: weightBytes };
  for (const device of devicesOf(options.dtype)) {
    const { model } = buildMamba2Graph(config, options.dtype, device);
    await writeFile(join(folder, graphFiles[device]), model, { flush: true });
    receipt[graphFiles[device]] = model.length;
  }
  await writeFile(join(folder, receiptFile), JSON.stringify(receipt), { flush: true });
}

async function writeWeights(
  source: TensorSource,
  fills: WeightFill[],
  path: string,
  total: number,
  { onProgress, signal }: CompileOptions,
): Promise<void> {
  const file = await open(path, "w");
  let done = 0;
  try {
    for (const fill of fills) {
      const { parameter } = fill;
      const count = source.tensors.get(parameter)!.shape.reduce((a, b) => a * b, 1);
      const wholeRows = fill.dtype === "f32" ? 1 : fill.rowLength;
      for await (const { offset, piece } of floatPieces(source, parameter, 0, count, wholeRows)) {
        throwIfAborted(signal, path);
        if (!areFinite(piece)) throw notFinite(source, parameter);
        for (const { bytes, position } of storedForm(fill, offset, piece)) {
          await writeAt(file, bytes, position);
          done = Math.max(done, position + bytes.length);
        }
      }
      onProgress?.({ phase: "compile", done, total });
    }
    await file.sync();
  } finally {
    await file.close();
  }
}

/** The bytes to store for values of a weight, the first of which is its `offset`-th, and their places in the file. */
function storedForm(fill: WeightFill, offset: number, piece: Float32Array): { bytes: Uint8Array; position: number }[] {
  if (fill.dtype === "f32") return [{ bytes: bytesOf(piece), position: fill.values.offset + 4 * offset }];
  const { codes, scales } = quantizeRows(piece, fill.rowLength, fill.dtype);
  const blocksBefore = (offset / fill.rowLength) * blocksOf(fill.rowLength);
  const blockBytes = codes.length / scales.length;
  return [
    { bytes: codes, position: fill.codes.offset + blocksBefore * blockBytes },
    { bytes: bytesOf(scales), position: fill.scales.offset + blocksBefore * scales.BYTES_PER_ELEMENT },
  ];
}

function bytesOf(values: Float32Array): Uint8Array {
  return new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
}

/** A loop, since `every` with a function takes ten times as long: a minute for 2.7 billion weights. */
function areFinite(values: Float32Array): boolean {
  for (let i = 0; i < values.length; i++) if (!Number.isFinite(values[i])) return false;
  return true;
}

/** All of the bytes: the system may take fewer at a time, as on a disk that fills up. */
async function writeAt(file: FileHandle, bytes: Uint8Array, position: number): Promise<void> {
  for (let done = 0; done < bytes.length; ) {
    done += (await file.write(bytes, done, bytes.length - done, position + done)).bytesWritten;
  }
}

function notFinite(source: TensorSource, name: string): PicasoError {
  return new PicasoError("bad-file", {
    where: `${source.where(name)}, tensor ${name}`,
    expected: "finite weights",
    found: "an infinity or NaN",
    next: "The file is damaged: download it again.",
  });
}
