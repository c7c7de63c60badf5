/**
 * Which files hold documents: walks the files and folders a caller names. Every real file is listed once, in an order
 * that depends on names alone; links are followed after everything that is reached without them, so that neither loops
 * nor the order of the disk show.
 */
import type { Stats } from "node:fs";
import { lstat, readdir, realpath, stat } from "node:fs/promises";
import { extname, join, resolve, sep } from "node:path";
import { PicasoError } from "../errors.js";

/** How a file's text is found in it. */
export type DocumentFormat = "text" | "markdown" | "html" | "json-lines";

const formats: Record<string, DocumentFormat> = {
  ".txt": "text",
  ".md": "markdown",
  ".html": "html",
  ".htm": "html",
  ".jsonl": "json-lines",
};

export interface DocumentFile {
  /** Absolute. */
  path: string;
  format: DocumentFormat;
}

/** The endings that are read, for messages. */
export const documentExtensions = Object.keys(formats);

/** The format that a file's ending stands for, upper or lower case; undefined for other endings. */
export function documentFormat(file: string): DocumentFormat | undefined {
  const extension = extname(file).toLowerCase();
  return Object.hasOwn(formats, extension) ? formats[extension] : undefined;
}

/** The error for a file whose ending none of the formats has. */
export function unknownFormat(file: string): PicasoError {
  return new PicasoError("unsupported", {
    where: file,
    expected: `a file that ends in ${documentExtensions.join(", ")}`,
    found: extname(file) === "" ? "no ending" : `"${extname(file)}"`,
    next: "Convert the document to one of these formats, or leave it out.",
  });
}

/**
 * The document files among `paths` and in the folders among them, sorted by path. Inside folders, hidden names,
 * `node_modules`, other endings (told to `onSkipped`) and links that lead nowhere are passed over.
 *
 * Throws `not-found` for a path that does not exist, `unsupported` for a file given by name that is not a document, and
 * `failed` for a folder that cannot be read.
 */
export async function findDocumentFiles(
  paths: readonly string[],
  { onSkipped }: { onSkipped?: (path: string) => void } = {},
): Promise<DocumentFile[]> {
  for (const path of paths) if (/^[a-z][a-z0-9+.-]*:\/\//i.test(path)) throw anAddress(path);
  const found = new Map<string, string>();
  const folders = new Set<string>();
  let links: { path: string; named: boolean }[] = [];
  for (const path of paths.map((each) => resolve(each)).sort(byCodeUnits)) {
    const info = await inspect(path, lstat);
    if (info === undefined) throw missing(path);
    if (info.isSymbolicLink()) links.push({ path, named: true });
    else await visit(path, info, true);
  }
  while (links.length > 0) {
    const round = links.sort((a, b) => byCodeUnits(a.path, b.path));
    links = [];
    for (const { path, named } of round) {
      const info = await inspect(path, stat);
      if (info !== undefined) await visit(path, info, named);
      else if (named) throw missing(path);
    }
  }
  return [...found.values()].sort(byCodeUnits).map((path) => ({ path, format: documentFormat(path)! }));

  async function visit(path: string, info: Stats, named: boolean): Promise<void> {
    if (!info.isDirectory()) {
      const readable = info.isFile() && documentFormat(path) !== undefined;
      if (named && !readable) throw info.isFile() ? unknownFormat(path) : notAFile(path);
      if (!readable) onSkipped?.(path);
      const real = readable ? await realpath(path) : undefined;
      if (real !== undefined && !found.has(real)) found.set(real, path);
      return;
    }
    const real = await realpath(path);
    if (folders.has(real)) return;
    folders.add(real);
    for (const entry of await listFolder(path)) {
      if (entry.name.startsWith(".") || entry.name === "node_modules") continue;
      const inside = join(path, entry.name);
      if (entry.isSymbolicLink()) links.push({ path: inside, named: false });
      else {
        const insideInfo = await inspect(inside, lstat);
        // Gone since the folder was listed: as if it had never been there.
        if (insideInfo !== undefined) await visit(inside, insideInfo, false);
      }
    }
  }
}

/** Whether a file's path is `path` or lies in the folder of that name, judged by the names alone. */
export function isInside(file: string, path: string): boolean {
  const [inner, outer] = [resolve(file), resolve(path)];
  return inner === outer || inner.startsWith(outer.endsWith(sep) ? outer : outer + sep);
}

async function listFolder(path: string) {
  try {
    const entries = await readdir(path, { withFileTypes: true });
    return entries.sort((a, b) => byCodeUnits(a.name, b.name));
  } catch (cause) {
    throw unreadable(path, cause);
  }
}

/** Undefined when there is nothing at `path`. */
async function inspect(path: string, read: (path: string) => Promise<Stats>): Promise<Stats | undefined> {
  try {
    return await read(path);
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    // A link to itself is as good as a link to nothing.
    if (code === "ENOENT" || code === "ENOTDIR" || code === "ELOOP") return undefined;
    throw unreadable(path, cause);
  }
}

function anAddress(path: string): PicasoError {
  return new PicasoError("unsupported", {
    where: path,
    expected: "a file or folder of this machine",
    found: "an address",
    next: "Download the documents first and name the folder they are in.",
  });
}

function missing(path: string): PicasoError {
  return new PicasoError("not-found", {
    where: path,
    expected: "a file or folder",
    found: "nothing",
    next: "Check the spelling of the path.",
  });
}

function notAFile(path: string): PicasoError {
  return new PicasoError("unsupported", {
    where: path,
    expected: "a regular file or a folder",
    found: "a device, socket or pipe",
    next: "Save its content to a file first.",
  });
}

function unreadable(path: string, cause: unknown): PicasoError {
  return new PicasoError("failed", {
    where: path,
    expected: "a file or folder that can be read",
    found: (cause as Error).message,
    next: "Check its permissions.",
    cause,
  });
}

/** The order of UTF-16 code units: the same on every machine and in every language. */
function byCodeUnits(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
