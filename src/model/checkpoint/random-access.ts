/** Bytes at known offsets: a file, or anything that can be read like one. The one place here that opens files. */
import { constants } from "node:buffer";
import { open, stat } from "node:fs/promises";
import { PicasoError } from "../../errors.js";
import { damaged } from "./checkpoint-errors.js";

export interface RandomAccess {
  readonly byteLength: number;
  /**
   * Bytes [start, end), in a buffer of their own. The caller has checked the range against `byteLength`.
   */
  read(start: number, end: number): Promise<Uint8Array>;
  close(): Promise<void>;
}

/** Linux moves at most 2 GiB in one call; this stays below on every system. */
const chunkBytes = 1 << 30;

/** Opens a regular file for reading. Throws `not-found`, `bad-file` (not a regular file) or `failed`. */
export async function openRandomAccess(path: string): Promise<RandomAccess> {
  const fail = (cause: unknown): never => {
    throw systemError(path, cause);
  };
  // Before opening: a named pipe would keep `open` waiting for somebody to write.
  const information = await stat(path).catch(fail);
  if (!information.isFile()) {
    throw new PicasoError("bad-file", {
      where: path,
      expected: "a file",
      found: information.isDirectory() ? "a directory" : "something that is not a regular file",
      next: "Give the path of the file itself.",
    });
  }
  const byteLength = information.size;
  const handle = await open(path, "r").catch(fail);
  let closed: Promise<void> | undefined;
  return {
    byteLength,
    async read(start, end) {
      if (closed) {
        throw new PicasoError("bad-argument", {
          where: path,
          expected: "an open file",
          found: "that it has been closed",
          next: "Read before closing, or open it again.",
        });
      }
      if (end - start > constants.MAX_LENGTH) {
        throw new PicasoError("bad-argument", {
          where: path,
          expected: `to read at most ${constants.MAX_LENGTH} bytes at once`,
          found: `${end - start}`,
          next: "Read the range in parts.",
        });
      }
      const bytes = new Uint8Array(end - start);
      for (let done = 0; done < bytes.length; ) {
        const want = Math.min(bytes.length - done, chunkBytes);
        const { bytesRead } = await handle.read(bytes, done, want, start + done).catch(fail);
        if (bytesRead === 0) {
          throw damaged(path, `${byteLength} bytes, as when it was opened`, `its end at byte ${start + done}`);
        }
        done += bytesRead;
      }
      return bytes;
    },
    close() {
      closed ??= handle.close();
      return closed;
    },
  };
}

function systemError(path: string, cause: unknown): PicasoError {
  const missing = (cause as NodeJS.ErrnoException).code === "ENOENT";
  return new PicasoError(missing ? "not-found" : "failed", {
    where: path,
    expected: "a readable file",
    found: missing ? "no such file" : cause instanceof Error ? cause.message : String(cause),
    next: missing ? "Check the path." : "Check the file's permissions and the disk, then try again.",
    cause,
  });
}
