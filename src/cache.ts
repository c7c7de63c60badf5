/** The folder for what can be made again: compiled graphs and remembered fingerprints. */
import { randomUUID } from "node:crypto";
import { mkdir, readdir, rename, rm, stat, writeFile } from "node:fs/promises";
import { homedir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { PicasoError } from "./errors.js";

const temporaryEnding = ".tmp";

/** Nobody fills a folder for longer than a day. */
const abandonedAfterMs = 24 * 60 * 60 * 1000;

/** `PICASO_CACHE`, else `picaso` in `XDG_CACHE_HOME`, else `~/.cache/picaso`. */
export function cacheFolder(): string {
  const { PICASO_CACHE, XDG_CACHE_HOME } = process.env;
  return resolve(PICASO_CACHE || join(XDG_CACHE_HOME || join(homedir(), ".cache"), "picaso"));
}

/** A name beside `path` that no other process uses. */
export function temporaryName(path: string): string {
  return `${path}.${process.pid}-${randomUUID().slice(0, 8)}${temporaryEnding}`;
}

/** Writes a file that readers see either whole or not at all. */
export async function writeWhole(path: string, content: string | Uint8Array): Promise<void> {
  const temporary = temporaryName(path);
  try {
    await mkdir(dirname(path), { recursive: true });
    await writeFile(temporary, content, { flush: true });
    await rename(temporary, path);
  } catch (cause) {
    await discard(temporary);
    throw cannotWrite(path, cause);
  }
}

/**
 * Makes a folder that readers see either whole or not at all: `fill` writes into a temporary one, which then takes
 * its name. What has the name by then stays where `isWhole` says so (another process was faster), else it goes.
 */
export async function makeWholeFolder(
  path: string,
  fill: (folder: string) => Promise<void>,
  isWhole: (folder: string) => Promise<boolean>,
): Promise<void> {
  const temporary = temporaryName(path);
  try {
    await mkdir(temporary, { recursive: true });
    await discardAbandoned(dirname(path));
    await fill(temporary);
    await takeName(temporary, path, isWhole);
  } catch (cause) {
    if (PicasoError.isInstance(cause)) throw cause;
    throw cannotWrite(path, cause);
  } finally {
    await discard(temporary);
  }
}

async function takeName(temporary: string, path: string, isWhole: (folder: string) => Promise<boolean>): Promise<void> {
  for (let attempt = 1; ; attempt++) {
    try {
      await rename(temporary, path);
      return;
    } catch (cause) {
      if (await isWhole(path)) return;
      if (attempt === 3) throw cause;
      await rm(path, { recursive: true, force: true });
    }
  }
}

/** Removes what processes that were killed have left in a folder: it can be as large as a model. */
async function discardAbandoned(folder: string): Promise<void> {
  for (const name of await readdir(folder)) {
    if (!name.endsWith(temporaryEnding)) continue;
    const path = join(folder, name);
    const changed = (await stat(path).catch(() => null))?.mtimeMs;
    if (changed !== undefined && Date.now() - changed > abandonedAfterMs) await discard(path);
  }
}

/** Removes a temporary file or folder, if it is there. What cannot be removed is in nobody's way. */
async function discard(temporary: string): Promise<void> {
  await rm(temporary, { recursive: true, force: true }).catch(() => {});
}

function cannotWrite(path: string, cause: unknown): PicasoError {
  return new PicasoError("failed", {
    where: path,
    expected: "to write there",
    found: cause instanceof Error ? cause.message : String(cause),
    next: "Free disk space or permissions, or name another folder with PICASO_CACHE.",
    cause,
  });
}
