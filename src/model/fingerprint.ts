/**
 * The fingerprint of a model: a hash of everything that its states depend on, so that states made on one machine are
 * known on another, and states of different models are never mixed.
 */
import { createHash, type Hash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { cacheFolder, writeWhole } from "../cache.js";
import { throwIfAborted } from "../errors.js";
import type { ModelFiles } from "./checkpoint/model-files.js";
import { openRandomAccess } from "./checkpoint/random-access.js";
import { fileStats, missing } from "./checkpoint/text-file.js";
import { QUANTIZATION_VERSION, type WeightDtype } from "./quantize.js";

const pieceBytes = 1 << 20;

/**
 * 32 hexadecimal digits of SHA-256 over the configuration's values, the weight files and the tokenizer; of quantised
 * weights, over that and how they are quantised.
 */
export async function modelFingerprint(
  files: ModelFiles,
  dtype: WeightDtype = "f32",
  signal?: AbortSignal,
): Promise<string> {
  const checkpoint = await checkpointFingerprint(files, signal);
  if (dtype === "f32") return checkpoint;
  return sha256([checkpoint, dtype, String(QUANTIZATION_VERSION)]).slice(0, 32);
}

/** Remembered by the files' sizes and times, so that gigabytes are read only when they changed. */
async function checkpointFingerprint(files: ModelFiles, signal?: AbortSignal): Promise<string> {
  const paths = [...files.weightFiles, files.tokenizerFile];
  const stamps = await Promise.all(
    paths.map(async (path) => {
      const stats = await fileStats(path);
      if (!stats) throw missing(path, "a file of the model");
      // The time of change cannot be set back, as copying and unpacking do with the time of modification.
      return [path, stats.size, stats.mtimeMs, stats.ctimeMs, stats.ino].join("\0");
    }),
  );
  // JSON writes Infinity as null, which no finite limit can be taken for.
  const config = JSON.stringify(Object.entries(files.config).sort());
  const key = sha256([config, ...stamps]);
  const remembered = join(cacheFolder(), "fingerprints", key);
  const known = await readFile(remembered, "utf8").catch(() => "");
  if (/^[0-9a-f]{32}$/.test(known)) return known;

  const hash = createHash("sha256").update(config);
  await hashFiles(hash, paths, signal);
  const fingerprint = hash.digest("hex").slice(0, 32);
  await writeWhole(remembered, fingerprint);
  return fingerprint;
}

/** Adds names and contents of files to a hash. */
export async function hashFiles(hash: Hash, paths: readonly string[], signal?: AbortSignal): Promise<void> {
  for (const path of paths) {
    hash.update(`\0${basename(path)}\0`);
    for await (const piece of pieces(path)) {
      throwIfAborted(signal, path);
      hash.update(piece);
    }
  }
}

async function* pieces(path: string): AsyncGenerator<Uint8Array> {
  const file = await openRandomAccess(path);
  try {
    for (let start = 0; start < file.byteLength; start += pieceBytes) {
      yield await file.read(start, Math.min(start + pieceBytes, file.byteLength));
    }
  } finally {
    await file.close();
  }
}

function sha256(parts: string[]): string {
  return createHash("sha256").update(parts.join("\n")).digest("hex");
}
