/**
 * `store.json`: what a store says of itself. Made with the store; whoever opens it checks it. Only the passages' settings
 * change later.
 */
import { randomUUID } from "node:crypto";
import { link, open, readFile, rename, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { PicasoError } from "../errors.js";
import { type Codec, codecNames, isCodec } from "../state/codec.js";
import type { StateShape } from "../state/context-state.js";
import { cannotWrite, syncFolder, unlessAbsent } from "./files.js";

/** Raised when stores can no longer be read as those of this version are. */
const VERSION = 1;
const FORMAT = "picaso-store";

/** A descriptor has a few hundred bytes; what is longer is something else and is not read. */
const MAX_BYTES = 65_536;

const shapeFields = ["layers", "heads", "stateSize", "headDim", "convWidth", "convDim"] as const;
const passageFields = ["passageTokens", "overlap"] as const;

export interface StoreDescriptor {
  /** Of the model whose states the store holds. */
  fingerprint: string;
  stateShape: StateShape;
  codec: Codec;
  /** How documents were last cut into passages; undefined before the first were. */
  passages?: PassageSettings;
}

export interface PassageSettings {
  /** Most tokens of a passage's text. */
  passageTokens: number;
  /** Tokens of whole sentences repeated from the passage before. */
  overlap: number;
}

function descriptorFile(directory: string): string {
  return join(directory, "store.json");
}

/**
 * The descriptor of the store in `directory`; undefined when there is none. Throws `bad-file` for damage, `unsupported`
 * for a version that this program does not know, `failed` when it cannot be read.
 */
export async function readDescriptor(directory: string): Promise<StoreDescriptor | undefined> {
  const file = descriptorFile(directory);
  const info = await unlessAbsent(file, stat(file));
  if (info === undefined) return undefined;
  if (info.size > MAX_BYTES) throw damaged(file, `at most ${MAX_BYTES} bytes`, `${info.size}`);
  const text = await unlessAbsent(file, readFile(file, "utf8"));
  if (text === undefined) return undefined;
  return parseDescriptor(text, file);
}

/**
 * Makes the descriptor in an existing folder unless there is one, which then stays: of several processes that make a
 * store one wins.
 */
export async function createDescriptor(directory: string, descriptor: StoreDescriptor): Promise<void> {
  await writeDescriptor(directory, descriptor, async (temporary, file) => {
    try {
      // Unlike a rename, a link never replaces a file that another process has made meanwhile.
      await link(temporary, file);
    } catch (cause) {
      if ((cause as NodeJS.ErrnoException).code !== "EEXIST") throw cause;
    }
  });
}

/** Puts a changed descriptor in the place of the old one; of several processes that do the last one wins. */
export async function replaceDescriptor(directory: string, descriptor: StoreDescriptor): Promise<void> {
  await writeDescriptor(directory, descriptor, rename);
}

async function writeDescriptor(
  directory: string,
  descriptor: StoreDescriptor,
  put: (temporary: string, file: string) => Promise<void>,
): Promise<void> {
  const file = descriptorFile(directory);
  const temporary = `${file}.${process.pid}-${randomUUID().slice(0, 8)}.tmp`;
  const text = `${JSON.stringify({ format: FORMAT, version: VERSION, ...descriptor }, null, 2)}\n`;
  try {
    const handle = await open(temporary, "wx", 0o600);
    try {
      await handle.writeFile(text);
      await handle.sync();
    } finally {
      await handle.close();
    }
    await put(temporary, file);
    await syncFolder(directory);
  } catch (cause) {
    throw cannotWrite(file, cause);
  } finally {
    await rm(temporary, { force: true });
  }
}

function parseDescriptor(text: string, file: string): StoreDescriptor {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw damaged(file, "a JSON object", (cause as Error).message, cause);
  }
  if (typeof value !== "object" || value === null) throw damaged(file, "a JSON object", JSON.stringify(value));
  const { format, version, fingerprint, stateShape, codec, passages } = value as Record<string, unknown>;
  if (format !== FORMAT) throw damaged(`${file}, format`, `"${FORMAT}"`, show(format));
  if (!Number.isSafeInteger(version)) throw damaged(`${file}, version`, "a whole number", show(version));
  if (version !== VERSION) throw unsupported(`${file}, version`, `version ${VERSION}`, show(version));
  if (typeof fingerprint !== "string" || fingerprint === "") {
    throw damaged(`${file}, fingerprint`, "a model's fingerprint", show(fingerprint));
  }
  if (typeof codec !== "string") throw damaged(`${file}, codec`, codecNames.join(" or "), show(codec));
  if (!isCodec(codec)) throw unsupported(`${file}, codec`, codecNames.join(" or "), show(codec));
  return {
    ...{ fingerprint, codec, stateShape: parseCounts(stateShape, shapeFields, `${file}, stateShape`) },
    ...(passages !== undefined && { passages: parseCounts(passages, passageFields, `${file}, passages`) }),
  };
}

function parseCounts<Name extends string>(value: unknown, names: readonly Name[], where: string): Record<Name, number> {
  const fields = (typeof value === "object" && value !== null ? value : {}) as Record<string, unknown>;
  const sizes = names.map((name) => {
    const size = fields[name];
    if (Number.isSafeInteger(size) && (size as number) >= 0) return [name, size];
    throw damaged(`${where}, ${name}`, "a whole number from 0", show(size));
  });
  return Object.fromEntries(sizes) as Record<Name, number>;
}

function show(value: unknown): string {
  return value === undefined ? "nothing" : JSON.stringify(value).slice(0, 100);
}

function damaged(where: string, expected: string, found: string, cause?: unknown): PicasoError {
  const next = "The store is damaged: restore this file, or remove the folder and index the documents again.";
  return new PicasoError("bad-file", { where, expected, found, next, cause });
}

function unsupported(where: string, expected: string, found: string): PicasoError {
  const next = "The store was made by a newer version: upgrade this program.";
  return new PicasoError("unsupported", { where, expected, found, next });
}
