/**
 * Bytes to text: UTF-8, or UTF-16 with a byte order mark. Anything else is an error that names the byte, since text
 * guessed wrongly would be indexed as garbage without anybody noticing.
 */
import { isUtf8 } from "node:buffer";
import { type FileHandle, open, stat } from "node:fs/promises";
import { PicasoError } from "../errors.js";

/**
 * The whole content of a file. Throws `bad-file` when it is longer than `maxBytes`, before anything is read, and
 * `not-found` or `failed` when it cannot be opened.
 */
export async function readWholeFile(file: string, maxBytes: number): Promise<Uint8Array> {
  const handle = await openDocument(file);
  try {
    const { size } = await handle.stat();
    if (size > maxBytes) {
      throw new PicasoError("bad-file", {
        where: file,
        expected: `at most ${maxBytes} bytes`,
        found: `${size}`,
        next: "Split it into smaller files, or put one document a line into a .jsonl file, which may be of any length.",
      });
    }
    return await handle.readFile();
  } finally {
    await handle.close();
  }
}

/** Opens a regular file for reading. Throws `not-found`, `unsupported` or `failed`. */
export async function openDocument(file: string): Promise<FileHandle> {
  try {
    // Opening a pipe would wait for a writer: look first.
    if ((await stat(file)).isFile()) return await open(file, "r");
  } catch (cause) {
    const missing = (cause as NodeJS.ErrnoException).code === "ENOENT";
    throw new PicasoError(missing ? "not-found" : "failed", {
      where: file,
      expected: "a file that can be read",
      found: missing ? "nothing" : (cause as Error).message,
      next: missing ? "Check the spelling of the path." : "Check its permissions.",
      cause,
    });
  }
  throw new PicasoError("unsupported", {
    where: file,
    expected: "a regular file",
    found: "something else",
    next: "Save its content to a file first.",
  });
}

/** The encoding that a byte order mark at the start announces, and the mark's length; UTF-8 where there is none. */
export function detectEncoding(start: Uint8Array): { encoding: "utf-8" | "utf-16le" | "utf-16be"; markLength: number } {
  const [a, b, c] = start;
  if (a === 0xff && b === 0xfe) return { encoding: "utf-16le", markLength: 2 };
  if (a === 0xfe && b === 0xff) return { encoding: "utf-16be", markLength: 2 };
  return { encoding: "utf-8", markLength: a === 0xef && b === 0xbb && c === 0xbf ? 3 : 0 };
}

/**
 * The text in `bytes`, without its byte order mark and with line ends turned into "\n". Throws `bad-file`, naming
 * `where` and the offset, for bytes that are no text in the announced encoding and for NUL characters.
 */
export function decodeText(bytes: Uint8Array, where: string): string {
  const { encoding, markLength } = detectEncoding(bytes);
  const body = bytes.subarray(markLength);
  if (encoding === "utf-8") {
    assertUtf8(body, where, markLength);
    return withPlainLineEnds(new TextDecoder("utf-8", { ignoreBOM: true }).decode(body));
  }
  let text: string;
  try {
    text = new TextDecoder(encoding, { fatal: true, ignoreBOM: true }).decode(body);
  } catch (cause) {
    throw notText(where, `valid ${encoding.toUpperCase()}, as the byte order mark says`, "other bytes", cause);
  }
  const nul = text.indexOf("\0");
  if (nul >= 0) throw notText(where, "text", `a NUL character at byte ${markLength + 2 * nul}`);
  return withPlainLineEnds(text);
}

/** Throws `bad-file` unless `bytes` is UTF-8 without NUL; offsets in messages count from `base`. */
export function assertUtf8(bytes: Uint8Array, where: string, base: number): void {
  const nul = bytes.indexOf(0);
  if (nul >= 0) throw notText(where, "text", `a NUL byte at byte ${base + nul}`);
  if (isUtf8(bytes)) return;
  const at = firstInvalidUtf8(bytes);
  const value = bytes[at]!.toString(16).padStart(2, "0");
  throw notText(where, "UTF-8", `an invalid byte 0x${value} at byte ${base + at}`);
}

/** "\r\n" and "\r" become "\n". */
export function withPlainLineEnds(text: string): string {
  return text.includes("\r") ? text.replace(/\r\n?/g, "\n") : text;
}

/** Offset of the first byte that begins no valid sequence; `bytes` must have one. */
function firstInvalidUtf8(bytes: Uint8Array): number {
  for (let at = 0; ; ) {
    const lead = bytes[at]!;
    const length = lead < 0x80 ? 1 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
    if (length > 1 && !isUtf8(bytes.subarray(at, at + length))) return at;
    at += length;
  }
}

function notText(where: string, expected: string, found: string, cause?: unknown): PicasoError {
  const next = "Save it as UTF-8 (or UTF-16 with a byte order mark), or leave it out if it is not text.";
  return new PicasoError("bad-file", { where, expected, found, next, cause });
}
