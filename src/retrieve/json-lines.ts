/**
 * JSON lines: one document a line, read as a stream, so that the file may be larger than memory.
 * `{"id": ..., "title": ..., "text": ...}`; only the text is required.
 */
import type { FileHandle } from "node:fs/promises";
import { PicasoError } from "../errors.js";
import type { Document } from "./documents.js";
import { assertUtf8, detectEncoding, openDocument, withPlainLineEnds } from "./text-file.js";

/** A line is parsed as a whole; none of a document collection comes near this. */
export const MAX_LINE_BYTES = 64 * 1024 * 1024;

/** Names that collections use for a document's text; the first one present counts. */
const textFields = ["text", "contents", "content", "passage", "body"];

/**
 * The documents of a file, one a line; blank lines are passed over. A document's source is `file#id`, or `file#line`
 * where it has no id. Throws `bad-file`, naming file and line, for the first line that is not such an object, and for
 * an id that an earlier line has.
 */
export async function* readJsonLines(file: string): AsyncGenerator<Document> {
  const handle = await openDocument(file);
  try {
    const ids = new Set<string>();
    let number = 0;
    for await (const { bytes, offset } of lines(await utf8Chunks(handle, file), file)) {
      number++;
      const where = `${file}, line ${number}`;
      assertUtf8(bytes, where, offset);
      const line = bytes.toString("utf8").trim();
      if (line === "") continue;
      const { id, title, text } = parseLine(line, where);
      const name = id ?? String(number);
      if (ids.has(name)) throw bad(where, "an id that no earlier line has", JSON.stringify(name));
      ids.add(name);
      yield { source: `${file}#${name}`, file, text: title === undefined ? text : `${title}\n\n${text}`, title };
    }
  } finally {
    await handle.close();
  }
}

function parseLine(line: string, where: string): { id?: string; title?: string; text: string } {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch (cause) {
    throw bad(where, "a JSON object", (cause as Error).message, cause);
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw bad(where, "a JSON object", Array.isArray(value) ? "an array" : typeof value);
  }
  const record = value as Record<string, unknown>;
  const field = textFields.find((name) => typeof record[name] === "string");
  if (field === undefined) {
    const found = `the fields ${JSON.stringify(Object.keys(record).slice(0, 8))}`;
    throw bad(where, `a string in one of the fields ${textFields.join(", ")}`, found);
  }
  const { id, title } = record;
  if (id !== undefined && id !== null && typeof id !== "string" && typeof id !== "number") {
    throw bad(`${where}, field id`, "a string or a number", Array.isArray(id) ? "an array" : typeof id);
  }
  const heading = typeof title === "string" ? cleanText(title, `${where}, field title`).trim() : "";
  return {
    id: id === undefined || id === null || id === "" ? undefined : cleanText(String(id), `${where}, field id`),
    title: heading === "" ? undefined : heading,
    text: cleanText(record[field] as string, `${where}, field ${field}`),
  };
}

/** JSON can spell what a text file cannot hold: NUL, and halves of surrogate pairs, which become U+FFFD. */
function cleanText(text: string, where: string): string {
  if (text.includes("\0")) throw bad(where, "text", "a NUL character");
  const wellFormed = /\p{Surrogate}/u.test(text) ? Buffer.from(text, "utf8").toString("utf8") : text;
  return withPlainLineEnds(wellFormed);
}

/** The file's content as UTF-8 without byte order mark, whatever encoding it announces. */
async function utf8Chunks(handle: FileHandle, file: string): Promise<AsyncIterable<Buffer>> {
  const start = new Uint8Array(3);
  const { bytesRead } = await handle.read(start, 0, 3, 0);
  const { encoding, markLength } = detectEncoding(start.subarray(0, bytesRead));
  const stream: AsyncIterable<Buffer> = handle.createReadStream({ start: markLength, autoClose: false });
  return encoding === "utf-8" ? stream : recode(stream, encoding, file);
}

async function* recode(stream: AsyncIterable<Buffer>, encoding: string, file: string): AsyncGenerator<Buffer> {
  const decoder = new TextDecoder(encoding, { fatal: true, ignoreBOM: true });
  try {
    for await (const chunk of stream) yield Buffer.from(decoder.decode(chunk, { stream: true }));
    yield Buffer.from(decoder.decode());
  } catch (cause) {
    if (!(cause instanceof TypeError)) throw cause;
    throw bad(file, `valid ${encoding.toUpperCase()}, as the byte order mark says`, "other bytes", cause);
  }
}

/** Lines without their end, with the offset of their first byte after the byte order mark. */
async function* lines(chunks: AsyncIterable<Buffer>, file: string): AsyncGenerator<{ bytes: Buffer; offset: number }> {
  let parts: Buffer[] = [];
  let length = 0;
  let offset = 0;
  for await (const chunk of chunks) {
    let from = 0;
    for (let end = chunk.indexOf(10); end >= 0; end = chunk.indexOf(10, from)) {
      parts.push(chunk.subarray(from, end));
      length += end - from;
      assertLineLength(length, file, offset);
      yield { bytes: Buffer.concat(parts), offset };
      offset += length + 1;
      parts = [];
      length = 0;
      from = end + 1;
    }
    parts.push(chunk.subarray(from));
    length += chunk.length - from;
    assertLineLength(length, file, offset);
  }
  if (length > 0) yield { bytes: Buffer.concat(parts), offset };
}

function assertLineLength(length: number, file: string, offset: number): void {
  if (length <= MAX_LINE_BYTES) return;
  throw bad(`${file}, the line at byte ${offset}`, `at most ${MAX_LINE_BYTES} bytes a line`, "a longer one");
}

function bad(where: string, expected: string, found: string, cause?: unknown): PicasoError {
  const next = 'Each line has to be one JSON object such as {"id": "a1", "title": "A title", "text": "A text."}.';
  return new PicasoError("bad-file", { where, expected, found, next, cause });
}
