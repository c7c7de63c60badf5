/** Reading data set files from disk: text, JSON, and rows of JSON one by one. Needs Node. */
import { constants } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import { PicasoError } from "../../errors.js";

/** Larger texts do not fit a JavaScript string. */
const maxTextBytes = 500_000_000;
/** A row of the data sets read here has some 10 kB; much longer lines mean that the file is no JSON Lines file. */
const maxLineLength = 50_000_000;

/** The text of a UTF-8 file, without byte order mark. */
export async function readText(path: string): Promise<string> {
  return withFile(path, async (file, bytes) => {
    if (bytes > maxTextBytes) {
      throw new PicasoError("unsupported", {
        where: path,
        expected: `a file of at most ${maxTextBytes} bytes`,
        found: `${bytes}`,
        next: "Split it, or convert it to JSON Lines, which is read row by row.",
      });
    }
    return decode(new TextDecoder("utf-8", { fatal: true }), await file.readFile(), path);
  });
}

/** A JSON file's value. */
export async function readJson(path: string): Promise<unknown> {
  return parseJson(await readText(path), path);
}

/**
 * The first `limit` lines of a JSON Lines file that are not blank, each with its line number from 1. Reads no more of
 * the file than that takes.
 */
export async function readJsonLines(path: string, limit = Infinity): Promise<{ value: unknown; line: number }[]> {
  return withFile(path, async (file) => {
    const rows: { value: unknown; line: number }[] = [];
    let line = 0;
    for await (const text of lines(file, path)) {
      line++;
      if (rows.length >= limit) break;
      if (text.trim() !== "") rows.push({ value: parseJson(text, `${path}, line ${line}`), line });
    }
    return rows;
  });
}

/** The first character of a file that is not whitespace; empty when there is none in its first kilobyte. */
export async function firstCharacter(path: string): Promise<string> {
  return withFile(path, async (file) => {
    const { buffer, bytesRead } = await file.read(Buffer.alloc(1024), 0, 1024, 0);
    return new TextDecoder().decode(buffer.subarray(0, bytesRead)).trimStart().slice(0, 1);
  });
}

async function* lines(file: FileHandle, path: string): AsyncGenerator<string> {
  const decoder = new TextDecoder("utf-8", { fatal: true });
  let rest = "";
  for await (const chunk of file.createReadStream({ autoClose: false, highWaterMark: 1 << 18 })) {
    const parts = (rest + decode(decoder, chunk as Buffer, path, true)).split("\n");
    rest = parts.pop()!;
    if (rest.length > maxLineLength) {
      throw new PicasoError("bad-file", {
        where: path,
        expected: `lines of at most ${maxLineLength} characters`,
        found: "a longer one",
        next: "Check that the file has one JSON object on each line.",
      });
    }
    yield* parts;
  }
  rest += decode(decoder, new Uint8Array(), path);
  if (rest !== "") yield rest;
}

function decode(decoder: TextDecoder, bytes: Uint8Array, path: string, stream = false): string {
  try {
    return decoder.decode(bytes, { stream });
  } catch (cause) {
    throw new PicasoError("bad-file", {
      where: path,
      expected: "UTF-8 text",
      found: "bytes that are none",
      next: "Download or convert the file again.",
      cause,
    });
  }
}

function parseJson(text: string, where: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new PicasoError("bad-file", {
      where,
      expected: "JSON",
      found: text.trim() === "" ? "nothing" : "text that is not valid JSON",
      next: "Check that the file is complete and of the format its reader is for.",
      cause,
    });
  }
}

/** Opens a file for `use` and closes it after. Only regular files: a pipe could keep a reader waiting for ever. */
async function withFile<T>(path: string, use: (file: FileHandle, bytes: number) => Promise<T>): Promise<T> {
  let file: FileHandle | undefined;
  try {
    // Without O_NONBLOCK, opening a pipe would wait for a writer.
    file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
    const information = await file.stat();
    if (!information.isFile()) {
      throw new PicasoError("bad-argument", {
        where: path,
        expected: "a file",
        found: information.isDirectory() ? "a directory" : "something else",
        next: "Name the data file itself.",
      });
    }
    return await use(file, information.size);
  } catch (cause) {
    throw PicasoError.isInstance(cause) ? cause : fileError(path, cause);
  } finally {
    await file?.close();
  }
}

function fileError(path: string, cause: unknown): PicasoError {
  const missing = (cause as NodeJS.ErrnoException).code === "ENOENT";
  return new PicasoError(missing ? "not-found" : "failed", {
    where: path,
    expected: "a readable data file",
    found: missing ? "no such file" : String(cause),
    next: missing ? "Check the path." : "Check the file and its permissions.",
    cause,
  });
}
