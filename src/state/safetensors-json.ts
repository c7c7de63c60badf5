/**
 * Parser of the one JSON shape that a safetensors header may have. `JSON.parse` is not used: it keeps the last of two
 * equal keys without a word, and builds whatever tree a hostile header describes before anyone can look at it.
 */
import { PicasoError } from "../errors.js";

/** An entry as written in the header; nothing but its JSON form has been checked. */
export interface RawTensorEntry {
  dtype: string;
  shape: number[];
  dataOffsets: number[];
}

export interface RawHeader {
  metadata: Record<string, string>;
  entries: Map<string, RawTensorEntry>;
}

/** Parses header text. Throws `bad-file`, naming `where` and the entry, for anything but the header's own shape. */
export function parseHeaderText(text: string, where: string): RawHeader {
  const cursor = new Cursor(text, where);
  const entries = new Map<string, RawTensorEntry>();
  let metadata: Map<string, string> | undefined;
  for (const name of cursor.keys("header")) {
    if (name === "__metadata__") metadata = parseMetadata(cursor);
    else entries.set(name, parseEntry(cursor, name));
  }
  cursor.end();
  return { metadata: Object.fromEntries(metadata ?? []), entries };
}

function parseMetadata(cursor: Cursor): Map<string, string> {
  const metadata = new Map<string, string>();
  for (const key of cursor.keys("__metadata__")) metadata.set(key, cursor.string(`__metadata__.${key}`));
  return metadata;
}

function parseEntry(cursor: Cursor, name: string): RawTensorEntry {
  const entry: Partial<RawTensorEntry> = {};
  const where = `tensor ${quote(name)}`;
  for (const field of cursor.keys(where)) {
    if (field === "dtype") entry.dtype = cursor.string(`${where}, dtype`);
    else if (field === "shape") entry.shape = cursor.integers(`${where}, shape`);
    else if (field === "data_offsets") entry.dataOffsets = cursor.integers(`${where}, data_offsets`);
    else throw cursor.error(where, "only the fields dtype, shape and data_offsets", quote(field));
  }
  const { dtype, shape, dataOffsets } = entry;
  const fields = "the fields dtype, shape and data_offsets";
  if (dtype === undefined) throw cursor.error(where, fields, "no dtype");
  if (shape === undefined) throw cursor.error(where, fields, "no shape");
  if (dataOffsets === undefined) throw cursor.error(where, fields, "no data_offsets");
  return { dtype, shape, dataOffsets };
}

/** A name from a file, shortened and escaped for a message. */
export function quote(text: string): string {
  return JSON.stringify(text.length > 100 ? `${text.slice(0, 97)}...` : text);
}

/** Reads tokens from left to right; every method leaves the position after what it read. */
class Cursor {
  private at = 0;

  constructor(
    private readonly text: string,
    private readonly where: string,
  ) {}

  /** The keys of an object, each followed by its value, which the caller reads before asking for the next key. */
  *keys(what: string): Generator<string> {
    const seen = new Set<string>();
    this.expect("{", what, "an object");
    if (this.take("}")) return;
    do {
      const key = this.string(`${what}, name of a field`);
      if (seen.has(key)) throw this.error(what, "each name once", `${quote(key)} twice`);
      seen.add(key);
      this.expect(":", what, `":" after ${quote(key)}`);
      yield key;
    } while (this.take(","));
    this.expect("}", what, '"," or "}"');
  }

  string(what: string): string {
    this.skipSpace();
    const start = this.at;
    if (this.text[start] !== '"') throw this.error(what, "a string", this.found());
    let end = this.text.indexOf('"', start + 1);
    while (end !== -1 && this.isEscaped(end)) end = this.text.indexOf('"', end + 1);
    if (end === -1) throw this.error(what, "a string", "one that does not end");
    this.at = end + 1;
    try {
      return JSON.parse(this.text.slice(start, end + 1)) as string;
    } catch {
      throw this.error(what, "a string in JSON form", quote(this.text.slice(start + 1, end)));
    }
  }

  /** An array of integers from 0 to 2^53 - 1. */
  integers(what: string): number[] {
    const values: number[] = [];
    this.expect("[", what, "an array");
    if (this.take("]")) return values;
    do values.push(this.integer(what));
    while (this.take(","));
    this.expect("]", what, '"," or "]"');
    return values;
  }

  end(): void {
    this.skipSpace();
    if (this.at < this.text.length) throw this.error("header", "its end after the last entry", this.found());
  }

  error(what: string, expected: string, found: string): PicasoError {
    return new PicasoError("bad-file", {
      where: `${this.where}, ${what}`,
      expected,
      found,
      next: "The file is damaged or not safetensors: get it again from its source.",
    });
  }

  private integer(what: string): number {
    this.skipSpace();
    const number = /-?[0-9][0-9.eE+-]*/y;
    number.lastIndex = this.at;
    const token = number.exec(this.text)?.[0];
    if (token === undefined) throw this.error(what, "a whole number", this.found());
    const value = Number(token);
    if (!/^(0|[1-9][0-9]*)$/.test(token) || !Number.isSafeInteger(value)) {
      throw this.error(what, "a whole number from 0 to 2^53 - 1", token.slice(0, 40));
    }
    this.at += token.length;
    return value;
  }

  private isEscaped(quoteAt: number): boolean {
    let slashes = 0;
    while (this.text[quoteAt - 1 - slashes] === "\\") slashes++;
    return slashes % 2 === 1;
  }

  private expect(char: string, what: string, expected: string): void {
    if (!this.take(char)) throw this.error(what, expected, this.found());
  }

  private take(char: string): boolean {
    this.skipSpace();
    if (this.text[this.at] !== char) return false;
    this.at++;
    return true;
  }

  private skipSpace(): void {
    while (" \n\r\t".includes(this.text[this.at] ?? "x")) this.at++;
  }

  private found(): string {
    if (this.at >= this.text.length) return "the end of the header";
    return `${quote(this.text.slice(this.at, this.at + 12))} at character ${this.at}`;
  }
}
