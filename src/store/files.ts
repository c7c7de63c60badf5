/** Small things about files that several parts of a store need. */
import { open, readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { PicasoError } from "../errors.js";

/** The error for a file that the system does not let us read. */
export function cannotRead(path: string, cause: unknown): PicasoError {
  return new PicasoError("failed", {
    where: path,
    expected: "to read it",
    found: (cause as Error).message,
    next: "Check its permissions.",
    cause,
  });
}

/** The error for a file that the system does not let us write. */
export function cannotWrite(path: string, cause: unknown): PicasoError {
  return new PicasoError("failed", {
    where: path,
    expected: "to write there",
    found: (cause as Error).message,
    next: "Check free space and permissions, then run the same command again: what is done stays done.",
    cause,
  });
}

/** What `reading` gives, or undefined when there is nothing at `path`. Throws `failed` for any other trouble. */
export async function unlessAbsent<T>(path: string, reading: Promise<T>): Promise<T | undefined> {
  try {
    return await reading;
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    if (code === "ENOENT" || code === "ENOTDIR") return undefined;
    throw cannotRead(path, cause);
  }
}

/** Makes names that were added to, or removed from, a folder survive a power failure. */
export async function syncFolder(path: string): Promise<void> {
  const handle = await open(path, "r");
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** Runs `work` on every item, at most `width` at a time; results in the order of the items. */
export async function mapConcurrently<T, R>(
  items: readonly T[],
  width: number,
  work: (item: T) => Promise<R>,
): Promise<R[]> {
  const results = new Array<R>(items.length);
  let next = 0;
  const worker = async (): Promise<void> => {
    while (next < items.length) {
      const index = next++;
      results[index] = await work(items[index]!);
    }
  };
  await Promise.all(Array.from({ length: Math.min(width, items.length) }, worker));
  return results;
}

/** Bytes of all files under a folder. Files that vanish meanwhile count nothing. */
export async function folderBytes(folder: string): Promise<number> {
  const entries = await unlessAbsent(folder, readdir(folder, { recursive: true, withFileTypes: true }));
  const files = (entries ?? []).filter((entry) => entry.isFile());
  const sizes = await mapConcurrently(files, 32, async ({ parentPath, name }) => {
    const path = join(parentPath, name);
    return (await unlessAbsent(path, stat(path)))?.size ?? 0;
  });
  return sizes.reduce((total, size) => total + size, 0);
}
