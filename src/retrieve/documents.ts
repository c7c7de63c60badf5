/**
 * Documents: the texts that a store is made of, read from files of several formats.
 * Adding a format: its ending in find-files.ts and a branch in `readDocuments`.
 */
import type { DocumentFile } from "./find-files.js";
import { readJsonLines } from "./json-lines.js";
import { textOfHtml, textOfMarkdown } from "./markup.js";
import { decodeText, readWholeFile } from "./text-file.js";

export { type DocumentFile, documentExtensions, findDocumentFiles, isInside } from "./find-files.js";

export interface Document {
  /** Where it comes from, unique in a store: the file's absolute path, for JSON lines followed by `#` and its id. */
  source: string;
  /** Absolute path of the file that holds it. */
  file: string;
  /** Plain text; lines end in "\n", blank lines separate paragraphs. A title stands in front as its own paragraph. */
  text: string;
  /** The title that was put in front, where the format has one (JSON lines). */
  title?: string;
}

/** A text file is held in memory as a whole, at up to two bytes a character. */
export const MAX_TEXT_BYTES = 256 * 1024 * 1024;

/** Markup becomes a tree of several times its size. */
export const MAX_MARKUP_BYTES = 32 * 1024 * 1024;

/**
 * The documents in a file: one, or one a line for JSON lines. Throws `bad-file` for content that is not what the format
 * says or too long, and `not-found`, `unsupported` or `failed` when the file cannot be opened.
 */
export async function* readDocuments({ path, format }: DocumentFile): AsyncGenerator<Document> {
  switch (format) {
    case "json-lines":
      yield* readJsonLines(path);
      return;
    case "text":
      yield document(path, decodeText(await readWholeFile(path, MAX_TEXT_BYTES), path));
      return;
    case "markdown":
      yield document(path, await textOfMarkdown(decodeText(await readWholeFile(path, MAX_MARKUP_BYTES), path), path));
      return;
    case "html":
      yield document(path, await textOfHtml(decodeText(await readWholeFile(path, MAX_MARKUP_BYTES), path), path));
      return;
  }
}

function document(path: string, text: string): Document {
  return { source: path, file: path, text };
}
