/**
 * A file while it is being downloaded: beside its blob, as `HASH.NUMBER.incomplete` with a number of its own, so that
 * two processes never write to one name.
 *
 * A file that an earlier run left is taken over by renaming it, which only one process can do. Should its writer still
 * be alive after all, no harm is done: the hash fixes the content, so both write the same bytes at the same places,
 * and whoever loses the name finds the blob complete.
 */
import { createHash, randomBytes } from "node:crypto";
import { type FileHandle, mkdir, open, readdir, rename, rm, stat, utimes } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { throwIfAborted } from "../errors.js";
import { cacheError } from "./hub-errors.js";
import { fileSize, ifAbsent } from "./repo-cache.js";

/** What a complete file must be. */
export interface FileContent {
  /** Bytes. */
  size: number;
  /** The blob's name: SHA-256 of the content for large files, Git's SHA-1 of "blob SIZE\0" and the content for others. */
  hash: string;
}

/** A file that nobody has written to for so long belongs to nobody. Longer than any pause between two tries. */
const abandonedAfterMs = 120_000;

export class PartialFile {
  /** Bytes on disk so far. */
  written = 0;
  /** Bytes that an earlier run had written. */
  inherited = 0;

  private constructor(
    private readonly blob: string,
    private readonly path: string,
    private readonly handle: FileHandle,
    private readonly content: FileContent,
    private readonly digest = contentHash(content),
  ) {}

  /** Opens the file for a blob: what an earlier run left of it, else an empty one. */
  static async open(blob: string, content: FileContent, signal?: AbortSignal): Promise<PartialFile> {
    try {
      await mkdir(dirname(blob), { recursive: true });
      for (const leftover of await leftovers(blob, content.size)) {
        const partial = await PartialFile.takeOver(blob, content, leftover);
        if (!partial) continue;
        await partial.readInherited(signal);
        return partial;
      }
      return await PartialFile.create(blob, content);
    } catch (cause) {
      throw cacheError(blob, cause);
    }
  }

  static async create(blob: string, content: FileContent): Promise<PartialFile> {
    const path = freshName(blob);
    try {
      return new PartialFile(blob, path, await open(path, "wx"), content);
    } catch (cause) {
      throw cacheError(path, cause);
    }
  }

  private static async takeOver(blob: string, content: FileContent, leftover: string): Promise<PartialFile | null> {
    const path = freshName(blob);
    const taken = await rename(leftover, path).then(
      () => open(path, "r+"),
      () => null,
    );
    if (!taken) return null;
    const now = new Date();
    await taken.utimes(now, now);
    return new PartialFile(blob, path, taken, content);
  }

  /** Takes what is in the file into the hash. */
  private async readInherited(signal?: AbortSignal): Promise<void> {
    try {
      for await (const chunk of this.handle.createReadStream({ autoClose: false, start: 0, highWaterMark: 1 << 20 })) {
        throwIfAborted(signal, this.path);
        this.digest.update(chunk as Buffer);
        this.written += (chunk as Buffer).length;
      }
    } catch (cause) {
      await this.release();
      throw cause;
    }
    this.inherited = this.written;
  }

  /** Appends a chunk. The caller keeps within the file's size. */
  async write(chunk: Uint8Array): Promise<void> {
    try {
      for (let done = 0; done < chunk.length; ) {
        const { bytesWritten } = await this.handle.write(chunk, done, chunk.length - done, this.written);
        this.digest.update(chunk.subarray(done, done + bytesWritten));
        this.written += bytesWritten;
        done += bytesWritten;
      }
    } catch (cause) {
      throw cacheError(this.path, cause);
    }
  }

  /** Whether the whole content is there and is the right one; ends the hashing. */
  isRight(): boolean {
    return this.written === this.content.size && this.digest.digest("hex") === this.content.hash;
  }

  /** Makes the file the blob, unless another process has done so. */
  async finish(): Promise<void> {
    try {
      await this.handle.sync().finally(() => this.handle.close());
      await rename(this.path, this.blob);
    } catch (cause) {
      if ((await fileSize(this.blob)) === this.content.size) return;
      throw cacheError(this.blob, cause);
    }
    for (const leftover of await leftovers(this.blob, Infinity)) await rm(leftover, { force: true });
  }

  /** Leaves the file for a later run to go on with. */
  async release(): Promise<void> {
    await this.handle.close();
    if (this.written === 0) await rm(this.path, { force: true });
    else await utimes(this.path, 0, 0).catch((cause) => ifAbsent(cause, this.path, undefined));
  }

  /** Removes the file. */
  async discard(): Promise<void> {
    await this.handle.close();
    await rm(this.path, { force: true });
  }
}

function freshName(blob: string): string {
  return `${blob}.${randomBytes(4).toString("hex")}.incomplete`;
}

/** Abandoned files for `blob` of at most `size` bytes, the longest first. */
async function leftovers(blob: string, size: number): Promise<string[]> {
  const pattern = /^\.[0-9a-f]{8}\.incomplete$/;
  const name = basename(blob);
  const found: { path: string; size: number }[] = [];
  for (const entry of await readdir(dirname(blob))) {
    if (!entry.startsWith(name) || !pattern.test(entry.slice(name.length))) continue;
    const path = join(dirname(blob), entry);
    const information = await stat(path).catch((cause) => ifAbsent(cause, path, undefined));
    if (!information?.isFile() || Date.now() - information.mtimeMs < abandonedAfterMs) continue;
    if (information.size <= size) found.push({ path, size: information.size });
  }
  return found.sort((a, b) => b.size - a.size).map(({ path }) => path);
}

function contentHash({ size, hash }: FileContent) {
  return hash.length === 64 ? createHash("sha256") : createHash("sha1").update(`blob ${size}\0`);
}
