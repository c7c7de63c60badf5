/**
 * Reader and writer of safetensors files: 8 bytes with the length of a JSON header, the header, the tensors' bytes.
 * Only headers are parsed here; big files are read in pieces by whoever owns the file. Strict: what the format forbids
 * (holes, overlaps, lengths that do not fit shapes, names given twice) is an error that names the file and the tensor.
 */
import { PicasoError } from "../errors.js";
import { parseHeaderText, quote, type RawTensorEntry } from "./safetensors-json.js";

const elementSize = { F64: 8, F32: 4, F16: 2, BF16: 2, I64: 8, I32: 4, I16: 2, I8: 1, U8: 1, BOOL: 1 } as const;

export type SafetensorsDtype = keyof typeof elementSize;

/** Types of the format that nothing here reads. */
const otherDtypes = /^(F8_\w+|F6_\w+|F4|U16|U32|U64|C64)$/;

/** Longest header read, as in the format's reference reader; real ones stay far below 10 MB. */
export const MAX_HEADER_BYTES = 100_000_000;

export interface TensorInfo {
  dtype: SafetensorsDtype;
  shape: number[];
  /** Offset in the file of the first byte. */
  begin: number;
  /** Offset in the file after the last byte. */
  end: number;
}

export interface SafetensorsHeader {
  metadata: Record<string, string>;
  /** In the order of the header. */
  tensors: Map<string, TensorInfo>;
  /** Offset in the file of the first tensor byte. */
  dataStart: number;
}

/**
 * Length in bytes of the JSON header, which starts at byte 8. Throws `bad-file` when it cannot be in a file of
 * `fileSize` bytes or passes {@link MAX_HEADER_BYTES}.
 */
export function safetensorsHeaderSize(first8: Uint8Array, fileSize: number, where: string): number {
  if (first8.length < 8 || fileSize < 10) {
    throw bad(where, "a safetensors file of 10 bytes or more", `${Math.min(first8.length, fileSize)} bytes`);
  }
  const size = new DataView(first8.buffer, first8.byteOffset, 8).getBigUint64(0, true);
  if (size > BigInt(MAX_HEADER_BYTES)) {
    throw bad(`${where}, header length`, `at most ${MAX_HEADER_BYTES} bytes`, `${size}`);
  }
  if (size > BigInt(fileSize - 8)) {
    throw bad(`${where}, header length`, `at most ${fileSize - 8}, what follows in the file`, `${size}`);
  }
  return Number(size);
}

/**
 * Checks the JSON header of a file of `fileSize` bytes and returns the place of every tensor. Throws `bad-file`, or
 * `unsupported` for a dtype that the format has and this reader does not.
 */
export function parseSafetensorsHeader(json: Uint8Array, fileSize: number, where: string): SafetensorsHeader {
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(json);
  } catch (cause) {
    throw bad(`${where}, header`, "UTF-8 text", "other bytes", cause);
  }
  const { metadata, entries } = parseHeaderText(text, where);
  const dataStart = 8 + json.length;
  const tensors = new Map<string, TensorInfo>();
  for (const [name, entry] of entries) {
    tensors.set(name, checkEntry(entry, dataStart, fileSize, `${where}, tensor ${quote(name)}`));
  }
  checkCoverage(tensors, dataStart, fileSize, where);
  return { metadata, tensors, dataStart };
}

/** {@link parseSafetensorsHeader} for a file that is in memory. */
export function readSafetensors(bytes: Uint8Array, where: string): SafetensorsHeader {
  const size = safetensorsHeaderSize(bytes.subarray(0, 8), bytes.length, where);
  return parseSafetensorsHeader(bytes.subarray(8, 8 + size), bytes.length, where);
}

export interface TensorToWrite {
  name: string;
  dtype: SafetensorsDtype;
  shape: number[];
  /** Little-endian values, row by row. */
  bytes: Uint8Array;
}

/**
 * The bytes of a file with these tensors in this order. The data starts at a multiple of 8; put the widest types first
 * to have every tensor aligned. Throws `bad-argument` for a name given twice or bytes that do not fit the shape.
 */
export function writeSafetensors(tensors: TensorToWrite[], metadata: Record<string, string> = {}): Uint8Array {
  const names = new Set(["__metadata__"]);
  const fields = Object.keys(metadata).length > 0 ? [`"__metadata__":${JSON.stringify(metadata)}`] : [];
  let offset = 0;
  for (const { name, dtype, shape, bytes } of tensors) {
    const where = `safetensors writer, tensor ${quote(name)}`;
    if (names.has(name)) throw badArgument(where, "a name that is still free", "one already in use");
    names.add(name);
    const size = byteLength(dtype, shape);
    if (size !== bytes.length) {
      throw badArgument(where, `${size} bytes for ${dtype} [${shape}]`, `${bytes.length}`);
    }
    const entry = JSON.stringify({ dtype, shape, data_offsets: [offset, offset + size] });
    fields.push(`${JSON.stringify(name)}:${entry}`);
    offset += size;
  }
  const json = new TextEncoder().encode(`{${fields.join(",")}}`);
  const headerSize = Math.ceil(json.length / 8) * 8;
  const file = new Uint8Array(8 + headerSize + offset);
  new DataView(file.buffer).setBigUint64(0, BigInt(headerSize), true);
  file.fill(0x20, 8, 8 + headerSize);
  file.set(json, 8);
  let at = 8 + headerSize;
  for (const { bytes } of tensors) {
    file.set(bytes, at);
    at += bytes.length;
  }
  return file;
}

function checkEntry(entry: RawTensorEntry, dataStart: number, fileSize: number, where: string): TensorInfo {
  const { dtype, shape, dataOffsets } = entry;
  if (!isDtype(dtype)) {
    if (!otherDtypes.test(dtype)) throw bad(`${where}, dtype`, Object.keys(elementSize).join(", "), quote(dtype));
    throw new PicasoError("unsupported", {
      where: `${where}, dtype`,
      expected: `one of ${Object.keys(elementSize).join(", ")}`,
      found: dtype,
      next: "Convert the file to one of these types.",
    });
  }
  const [from, to] = dataOffsets;
  if (dataOffsets.length !== 2 || from === undefined || to === undefined || from > to) {
    throw bad(`${where}, data_offsets`, "a first and a last offset in order", `[${dataOffsets.slice(0, 4)}]`);
  }
  if (to > fileSize - dataStart) {
    throw bad(`${where}, data_offsets`, `at most the ${fileSize - dataStart} bytes of data in the file`, `${to}`);
  }
  const size = byteLength(dtype, shape);
  if (!Number.isSafeInteger(size)) {
    throw bad(`${where}, shape`, "fewer than 2^53 bytes", `${dtype} [${shape.slice(0, 8)}]`);
  }
  if (size !== to - from) {
    throw bad(where, `${size} bytes for ${dtype} [${shape.slice(0, 8)}]`, `${to - from} in data_offsets`);
  }
  return { dtype, shape, begin: dataStart + from, end: dataStart + to };
}

/** The format wants every data byte to belong to exactly one tensor. */
function checkCoverage(tensors: Map<string, TensorInfo>, dataStart: number, fileSize: number, where: string): void {
  const sorted = [...tensors].sort(([, a], [, b]) => a.begin - b.begin || a.end - b.end);
  let covered = dataStart;
  for (const [name, { begin, end }] of sorted) {
    if (begin !== covered) {
      const relation = begin < covered ? "overlapping the tensor before it" : "after a hole";
      throw bad(`${where}, tensor ${quote(name)}`, `its data at byte ${covered}`, `byte ${begin}, ${relation}`);
    }
    covered = end;
  }
  if (covered !== fileSize) {
    throw bad(where, `its end at byte ${covered}, after the last tensor`, `${fileSize} bytes`);
  }
}

/** Not a safe integer when the size overflows; an empty dimension makes the whole tensor empty. */
function byteLength(dtype: SafetensorsDtype, shape: number[]): number {
  if (shape.includes(0)) return 0;
  return shape.reduce((product, dimension) => product * dimension, elementSize[dtype]);
}

function isDtype(name: string): name is SafetensorsDtype {
  return Object.hasOwn(elementSize, name);
}

function bad(where: string, expected: string, found: string, cause?: unknown): PicasoError {
  const next = "The file is damaged or not safetensors: get it again from its source.";
  return new PicasoError("bad-file", { where, expected, found, next, cause });
}

function badArgument(where: string, expected: string, found: string): PicasoError {
  return new PicasoError("bad-argument", { where, expected, found, next: "Correct the tensors given to the writer." });
}
