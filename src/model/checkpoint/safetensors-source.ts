/** A checkpoint in one safetensors file, or in several with an index that says which tensor stands in which. */
import { basename, dirname, join } from "node:path";
import { PicasoError } from "../../errors.js";
import { parseSafetensorsHeader, safetensorsHeaderSize, type TensorInfo } from "../../state/safetensors.js";
import { describeJson } from "../json.js";
import { quote } from "./checkpoint-errors.js";
import { openRandomAccess, type RandomAccess } from "./random-access.js";
import type { CheckpointDtype, CheckpointTensor, TensorSource } from "./tensor-source.js";
import { readText } from "./text-file.js";

/** Opens `model.safetensors`. Throws `bad-file`, `unsupported` or `not-found`. */
export function openSafetensors(path: string): Promise<TensorSource> {
  return openFiles([path]);
}

/** The file of each tensor, by `model.safetensors.index.json`. Throws `bad-file` or `not-found`. */
export async function readShardIndex(indexPath: string): Promise<Map<string, string>> {
  const fail = (found: string, cause?: unknown): never => {
    throw new PicasoError("bad-file", {
      where: `${indexPath}, weight_map`,
      expected: "an object from tensor names to names of .safetensors files in the same folder",
      found,
      next: "Download the index again.",
      cause,
    });
  };
  const text = await readText(indexPath, "an index of shards", "index");
  let index: { weight_map?: unknown } | null;
  try {
    index = JSON.parse(text);
  } catch (cause) {
    return fail("text that is not JSON", cause);
  }
  const map = index?.weight_map;
  if (typeof map !== "object" || map === null || Array.isArray(map)) return fail(describeJson(map));
  const entries = Object.entries(map);
  for (const [tensor, file] of entries) {
    // A name with a path in it could read any file of the machine.
    if (typeof file !== "string" || !/^[^/\\\0]+\.safetensors$/.test(file)) {
      fail(`${describeJson(file)} for tensor ${quote(tensor)}`);
    }
  }
  return new Map(entries);
}

/**
 * Opens the shards that {@link readShardIndex} found, beside the index, and checks that each holds the tensors that
 * the index says.
 */
export async function openShardedSafetensors(indexPath: string, shardOf: Map<string, string>): Promise<TensorSource> {
  const shards = [...new Set(shardOf.values())].sort().map((shard) => join(dirname(indexPath), shard));
  const source = await openFiles(shards);
  for (const [tensor, shard] of shardOf) {
    const found = source.tensors.has(tensor) ? basename(source.where(tensor)) : undefined;
    if (found === shard) continue;
    await source.close();
    throw new PicasoError("bad-file", {
      where: `${indexPath}, weight_map`,
      expected: `tensor ${quote(tensor)} in ${shard}`,
      found: found ? `it in ${found}` : "no such tensor there",
      next: "The index and the shards belong to different checkpoints: download them again together.",
    });
  }
  return source;
}

interface Place extends CheckpointTensor {
  path: string;
  file: RandomAccess;
  /** Offset in the file. */
  begin: number;
}

class SafetensorsSource implements TensorSource {
  constructor(
    readonly tensors: ReadonlyMap<string, Place>,
    private readonly files: RandomAccess[],
  ) {}

  where(name: string): string {
    return this.place(name).path;
  }

  async read(name: string, start = 0, end?: number): Promise<Uint8Array> {
    const { path, file, begin, byteLength } = this.place(name);
    const stop = end ?? byteLength;
    if (
      !(Number.isSafeInteger(start) && Number.isSafeInteger(stop) && 0 <= start && start <= stop && stop <= byteLength)
    ) {
      throw new PicasoError("bad-argument", {
        where: `${path}, tensor ${name}`,
        expected: `a range within its ${byteLength} bytes`,
        found: `[${start}, ${stop})`,
        next: "Ask for bytes that the tensor has.",
      });
    }
    return file.read(begin + start, begin + stop);
  }

  async close(): Promise<void> {
    await Promise.all(this.files.map((file) => file.close()));
  }

  private place(name: string): Place {
    const place = this.tensors.get(name);
    if (place) return place;
    throw new PicasoError("not-found", {
      where: "checkpoint",
      expected: `tensor ${quote(name)}`,
      found: `${this.tensors.size} others`,
      next: "Check that config.json and the weights belong to the same checkpoint.",
    });
  }
}

/** Opens the files, each tensor in one of them only. */
async function openFiles(paths: string[]): Promise<TensorSource> {
  const tensors = new Map<string, Place>();
  const files: RandomAccess[] = [];
  try {
    for (const path of paths) {
      const file = await openRandomAccess(path);
      files.push(file);
      for (const [name, { dtype, shape, begin, end }] of await readHeader(file, path)) {
        const known = tensors.get(name);
        if (known) throw twice(name, path, known.path);
        const type = dtype.toLowerCase() as Lowercase<typeof dtype> satisfies CheckpointDtype;
        tensors.set(name, { name, dtype: type, shape, byteLength: end - begin, path, file, begin });
      }
    }
  } catch (error) {
    await Promise.all(files.map((file) => file.close()));
    throw error;
  }
  return new SafetensorsSource(tensors, files);
}

async function readHeader(file: RandomAccess, path: string): Promise<Map<string, TensorInfo>> {
  const { byteLength } = file;
  const size = safetensorsHeaderSize(await file.read(0, Math.min(8, byteLength)), byteLength, path);
  return parseSafetensorsHeader(await file.read(8, 8 + size), byteLength, path).tensors;
}

function twice(name: string, path: string, other: string): PicasoError {
  return new PicasoError("bad-file", {
    where: `${path}, tensor ${quote(name)}`,
    expected: "each tensor in one file",
    found: `it in ${basename(other)} too`,
    next: "Download the checkpoint again into an empty folder.",
  });
}
