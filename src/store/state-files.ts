/**
 * The states of a store, one file each: `states/ab/<stateId>.safetensors`, where ab are the id's first two digits. A
 * file is written under a temporary name, synced and renamed, so that under its own name it is always whole, whatever
 * happens to the process or the machine.
 */
import { randomUUID } from "node:crypto";
import type { Stats } from "node:fs";
import { type FileHandle, mkdir, open, readdir, readFile, rename, rm, stat, utimes } from "node:fs/promises";
import { basename, dirname, join, relative } from "node:path";
import { PicasoError } from "../errors.js";
import { MAX_HEADER_BYTES, safetensorsHeaderSize } from "../state/safetensors.js";
import { cannotReadState } from "../state/state-file.js";
import { parseStateHeader } from "../state/state-header.js";
import { cannotWrite, syncFolder, unlessAbsent } from "./files.js";
import { STATE_ID_DIGITS } from "./ids.js";

const EXTENSION = ".safetensors";

/** Endings of files that are not states: being written, about to be removed, found damaged. */
const leftoverEnding = /\.(tmp|removing|damaged)$/;

export interface FoundFile {
  path: string;
  /** Undefined for leftovers: temporary files, and states that were set aside. */
  stateId: string | undefined;
  bytes: number;
  /** Last change, in milliseconds since 1970. */
  changed: number;
}

export class StateFiles {
  /** @param folder The `states` folder of a store. */
  constructor(readonly folder: string) {}

  path(stateId: string): string {
    return join(this.folder, stateId.slice(0, 2), `${stateId}${EXTENSION}`);
  }

  /** Size of a state's file in bytes; undefined when there is none. */
  async size(stateId: string): Promise<number | undefined> {
    return (await inspect(this.path(stateId)))?.size;
  }

  /**
   * True when the state's file is there and its header is undamaged and fits its length. The data is not read: a state
   * is fully checked when it is loaded.
   */
  async isWhole(stateId: string): Promise<boolean> {
    const path = this.path(stateId);
    const handle = await unlessAbsent(path, open(path, "r"));
    if (handle === undefined) return false;
    try {
      const { size } = await handle.stat();
      const start = await readAt(handle, 0, Math.min(8, size));
      const headerSize = safetensorsHeaderSize(start, size, path);
      parseStateHeader(await readAt(handle, 8, Math.min(headerSize, MAX_HEADER_BYTES)), size, path);
      return true;
    } catch (error) {
      if (PicasoError.isInstance(error) && error.code === "bad-file") return false;
      throw error;
    } finally {
      await handle.close();
    }
  }

  /** The whole content. Throws `not-found` or `failed`. */
  async read(stateId: string): Promise<Uint8Array> {
    const path = this.path(stateId);
    try {
      return await readFile(path);
    } catch (cause) {
      throw cannotReadState(path, cause);
    }
  }

  /** Writes a state's file; an older one is replaced at once. Throws `failed`. */
  async write(stateId: string, bytes: Uint8Array): Promise<void> {
    const path = this.path(stateId);
    const folder = dirname(path);
    let made: string | undefined;
    try {
      made = await mkdir(folder, { recursive: true, mode: 0o700 });
    } catch (cause) {
      throw cannotWrite(folder, cause);
    }
    const temporary = `${path}.${process.pid}-${randomUUID().slice(0, 8)}.tmp`;
    try {
      const handle = await open(temporary, "wx", 0o600);
      try {
        await handle.writeFile(bytes);
        await handle.sync();
      } finally {
        await handle.close();
      }
      await rename(temporary, path);
      await syncFolder(folder);
      if (made !== undefined) await syncFolder(this.folder);
    } catch (cause) {
      await rm(temporary, { force: true });
      throw cannotWrite(path, cause);
    }
  }

  /** Makes a file look new, so that gc leaves it alone. False when there is none. */
  async touch(stateId: string): Promise<boolean> {
    const now = new Date();
    const path = this.path(stateId);
    try {
      await utimes(path, now, now);
      return true;
    } catch (cause) {
      if ((cause as NodeJS.ErrnoException).code === "ENOENT") return false;
      throw cannotWrite(path, cause);
    }
  }

  /** Renames a state's file so that it is no longer found; returns its new path, undefined when there is no file. */
  async setAside(stateId: string, ending: "removing" | "damaged"): Promise<string | undefined> {
    const path = this.path(stateId);
    const aside = `${path}.${process.pid}-${randomUUID().slice(0, 8)}.${ending}`;
    try {
      await rename(path, aside);
      return aside;
    } catch (cause) {
      if ((cause as NodeJS.ErrnoException).code === "ENOENT") return undefined;
      throw cannotWrite(path, cause);
    }
  }

  /** Takes back what {@link setAside} did. */
  async restore(stateId: string, aside: string): Promise<void> {
    await rename(aside, this.path(stateId));
  }

  /** All files, sorted by path. */
  async list(): Promise<FoundFile[]> {
    const found: FoundFile[] = [];
    for (const group of await names(this.folder)) {
      for (const name of await names(join(this.folder, group))) {
        const path = join(this.folder, group, name);
        const stateId = stateIdOf(name);
        const info = stateId !== undefined || leftoverEnding.test(name) ? await inspect(path) : undefined;
        if (info?.isFile()) found.push({ path, stateId, bytes: info.size, changed: info.mtimeMs });
      }
    }
    return found;
  }

  /** A path as messages and reports show it: from the store's folder on. */
  shortPath(path: string): string {
    return relative(dirname(this.folder), path);
  }
}

async function names(folder: string): Promise<string[]> {
  return ((await unlessAbsent(folder, readdir(folder))) ?? []).sort();
}

async function inspect(path: string): Promise<Stats | undefined> {
  return unlessAbsent(path, stat(path));
}

function stateIdOf(name: string): string | undefined {
  const id = basename(name, EXTENSION);
  return name.endsWith(EXTENSION) && id.length === STATE_ID_DIGITS && /^[0-9a-f]+$/.test(id) ? id : undefined;
}

async function readAt(handle: FileHandle, position: number, length: number): Promise<Uint8Array> {
  const bytes = new Uint8Array(length);
  const { bytesRead } = await handle.read(bytes, 0, length, position);
  return bytes.subarray(0, bytesRead);
}
