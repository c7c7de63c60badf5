/** The small text files of a model folder, and the question which files it has. */
import type { Stats } from "node:fs";
import { stat } from "node:fs/promises";
import { PicasoError } from "../../errors.js";
import { damaged } from "./checkpoint-errors.js";
import { openRandomAccess } from "./random-access.js";

/** Files above these sizes are damage: configurations take 1 kB, indices 100 kB, the largest tokenizers 40 MB. */
export const textLimits = { config: 1 << 20, index: 1 << 24, tokenizer: 1 << 28 } as const;

/**
 * A UTF-8 file that must exist; `expected` says what it is. Throws `not-found`, `bad-file` (not a file, not UTF-8,
 * larger than its kind can be) or `failed`.
 */
export async function readText(path: string, expected: string, kind: keyof typeof textLimits): Promise<string> {
  if (!(await fileStats(path))) throw missing(path, expected);
  const file = await openRandomAccess(path);
  try {
    if (file.byteLength > textLimits[kind]) {
      throw damaged(path, `at most ${textLimits[kind]} bytes for ${expected}`, `${file.byteLength}`);
    }
    const bytes = await file.read(0, file.byteLength);
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch (cause) {
    if (PicasoError.isInstance(cause)) throw cause;
    throw damaged(path, "text in UTF-8", "other bytes", cause);
  } finally {
    await file.close();
  }
}

/** What stands at `path`, null where nothing does. Throws `failed` when the system does not tell. */
export async function fileStats(path: string): Promise<Stats | null> {
  try {
    return await stat(path);
  } catch (cause) {
    const { code, message } = cause as NodeJS.ErrnoException;
    if (code === "ENOENT" || code === "ENOTDIR") return null;
    throw new PicasoError("failed", {
      where: path,
      expected: "a file that can be looked up",
      found: message,
      next: "Check the permissions of its folder, then try again.",
      cause,
    });
  }
}

/** The `not-found` error for a file that a model folder must have. */
export function missing(path: string, expected: string): PicasoError {
  return new PicasoError("not-found", {
    where: path,
    expected,
    found: "no such file",
    next: "Point --model at a folder with config.json, tokenizer.json and the weights.",
  });
}
