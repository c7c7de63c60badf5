/**
 * The directory of a zip archive as torch.save writes it (PKWARE APPNOTE 6.3, sections 4.3 and 4.5.3): every entry
 * stored without compression, one behind the other from byte 0, with nothing between and no comment at the end. An
 * archive that is anything else is refused, so that no two readers can see different entries in it.
 */
import { damaged, notSupported, quote } from "./checkpoint-errors.js";
import type { RandomAccess } from "./random-access.js";

export interface ZipEntry {
  name: string;
  /** Offset in the file of the first byte of its content. */
  start: number;
  /** Offset after the last byte. */
  end: number;
  /** CRC-32 of the content as the archive has it. */
  crc32: number;
}

const signature = {
  local: 0x04034b50,
  central: 0x02014b50,
  descriptor: 0x08074b50,
  end: 0x06054b50,
  end64: 0x06064b50,
  locator64: 0x07064b50,
};
const size = { local: 30, central: 46, end: 22, end64: 56, locator64: 20 };

/** The largest Mamba-2 checkpoints have some 600 entries in 50 kB; what is far above is refused before it is read. */
const limits = { directoryBytes: 8 << 20, entries: 1 << 16, nameBytes: 1024 };

/** Sizes stand in a descriptor behind the content. */
const flagDescriptor = 0x0008;
const flagUtf8 = 0x0800;
/** In a field of 16 or 32 bits: the value stands in the zip64 record or extra field. */
const in64 = { u16: 0xffff, u32: 0xffff_ffff };

interface Directory {
  start: number;
  end: number;
  entries: number;
}

/** An entry as the central directory has it. */
interface CentralEntry {
  name: string;
  nameBytes: Uint8Array;
  flags: number;
  crc32: number;
  /** Bytes of content. */
  size: number;
  /** Offset of the local header. */
  local: number;
}

/** Reads the directory and checks it against every local header. Throws `bad-file` or `unsupported`. */
export async function readZipEntries(file: RandomAccess, path: string): Promise<Map<string, ZipEntry>> {
  const directory = await findDirectory(file, path);
  const bytes = await file.read(directory.start, directory.end);
  const central = parseDirectory(bytes, directory, path);
  central.sort((a, b) => a.local - b.local);
  const entries = new Map<string, ZipEntry>();
  let position = 0;
  for (const [index, entry] of central.entries()) {
    const where = `${path}, entry ${quote(entry.name)}`;
    if (entry.local !== position) {
      throw damaged(where, `its header at byte ${position}, behind the entry before it`, `byte ${entry.local}`);
    }
    position = central[index + 1]?.local ?? directory.start;
    if (entries.has(entry.name)) throw damaged(where, "each name once", "it twice");
    entries.set(entry.name, await locate(file, entry, position, where));
  }
  return entries;
}

/** Where the central directory lies, from the records at the very end of the file. */
async function findDirectory(file: RandomAccess, path: string): Promise<Directory> {
  const tail = size.end64 + size.locator64 + size.end;
  const tailStart = Math.max(0, file.byteLength - tail);
  const bytes = await file.read(tailStart, file.byteLength);
  const view = viewOf(bytes);
  const end = bytes.length - size.end;
  if (end < 0 || view.getUint32(end, true) !== signature.end) {
    throw damaged(path, "a zip archive that ends with its end-of-directory record", "none in the last 22 bytes");
  }
  const where = `${path}, end of directory`;
  if (view.getUint16(end + 20, true) !== 0) throw damaged(where, "no comment", "one");
  if (view.getUint32(end + 4, true) !== 0) throw damaged(where, "an archive in one part", "one of several parts");
  const onDisk = view.getUint16(end + 8, true);
  const classic = {
    entries: view.getUint16(end + 10, true),
    size: view.getUint32(end + 12, true),
    start: view.getUint32(end + 16, true),
  };
  if (onDisk !== classic.entries) throw damaged(where, `${classic.entries} entries in this part`, `${onDisk}`);

  const locator = end - size.locator64;
  if (locator < 0 || view.getUint32(locator, true) !== signature.locator64) {
    return checkDirectory(classic, tailStart + end, where);
  }
  const record = locator - size.end64;
  const recordStart = tailStart + record;
  if (
    record < 0 ||
    view.getUint32(record, true) !== signature.end64 ||
    view.getBigUint64(record + 4, true) !== BigInt(size.end64 - 12) ||
    view.getUint32(locator + 4, true) !== 0 ||
    view.getBigUint64(locator + 8, true) !== BigInt(recordStart) ||
    view.getUint32(locator + 16, true) !== 1
  ) {
    throw damaged(where, `the zip64 record of 56 bytes just before its locator`, "something else");
  }
  if (view.getBigUint64(record + 16, true) !== 0n) {
    throw damaged(where, "an archive in one part", "one of several parts");
  }
  const wide = {
    entries: smallInteger(view, record + 32, where),
    size: smallInteger(view, record + 40, where),
    start: smallInteger(view, record + 48, where),
  };
  if (view.getBigUint64(record + 24, true) !== BigInt(wide.entries)) {
    throw damaged(where, `${wide.entries} entries in this part`, `${view.getBigUint64(record + 24, true)}`);
  }
  for (const field of ["entries", "size", "start"] as const) {
    const saturated = field === "entries" ? in64.u16 : in64.u32;
    if (classic[field] === wide[field] || classic[field] === saturated) continue;
    throw damaged(where, `${field} ${wide[field]}, as in the zip64 record`, `${classic[field]}`);
  }
  return checkDirectory(wide, recordStart, where);
}

/** `end`: where the directory must end. */
function checkDirectory(record: { entries: number; size: number; start: number }, end: number, where: string) {
  const { entries, start } = record;
  if (start + record.size !== end) {
    throw damaged(where, `a directory that ends at byte ${end}`, `${record.size} bytes from byte ${start}`);
  }
  if (record.size > limits.directoryBytes || entries > limits.entries) {
    const most = `at most ${limits.entries} entries in ${limits.directoryBytes} bytes`;
    throw notSupported(where, most, `${entries} in ${record.size}`);
  }
  return { start, end, entries };
}

function parseDirectory(bytes: Uint8Array, directory: Directory, path: string): CentralEntry[] {
  const view = viewOf(bytes);
  const entries: CentralEntry[] = [];
  let at = 0;
  while (at < bytes.length) {
    const where = `${path}, directory, byte ${directory.start + at}`;
    if (bytes.length - at < size.central || view.getUint32(at, true) !== signature.central) {
      throw damaged(where, "the header of an entry", "something else");
    }
    const nameEnd = at + size.central + view.getUint16(at + 28, true);
    const extraEnd = nameEnd + view.getUint16(at + 30, true);
    const end = extraEnd + view.getUint16(at + 32, true);
    if (end > bytes.length) throw damaged(where, "a header that ends inside the directory", `one of ${end - at} bytes`);
    const nameBytes = bytes.subarray(at + size.central, nameEnd);
    const name = decodeName(nameBytes, where);
    const fields = {
      size: view.getUint32(at + 24, true),
      stored: view.getUint32(at + 20, true),
      local: view.getUint32(at + 42, true),
    };
    readZip64Extra(fields, bytes.subarray(nameEnd, extraEnd), where);
    const flags = view.getUint16(at + 8, true);
    checkMethod(flags, view.getUint16(at + 10, true), `${path}, entry ${quote(name)}`);
    if (fields.size !== fields.stored) {
      throw damaged(where, `${fields.size} bytes stored for ${fields.size} bytes of content`, `${fields.stored}`);
    }
    if (fields.local >= directory.start) {
      throw damaged(where, `an entry before the directory at byte ${directory.start}`, `one at byte ${fields.local}`);
    }
    if (view.getUint16(at + 34, true) !== 0) throw damaged(where, "an archive in one part", "one of several parts");
    entries.push({
      name,
      nameBytes,
      flags,
      crc32: view.getUint32(at + 16, true),
      size: fields.size,
      local: fields.local,
    });
    at = end;
  }
  if (entries.length !== directory.entries) {
    throw damaged(`${path}, directory`, `${directory.entries} entries`, `${entries.length}`);
  }
  return entries;
}

/** Replaces the fields that are saturated by those of the zip64 extra field, which has them and no others in it. */
function readZip64Extra(fields: { size: number; stored: number; local: number }, extra: Uint8Array, where: string) {
  const wide = (["size", "stored", "local"] as const).filter((field) => fields[field] === in64.u32);
  const view = viewOf(extra);
  let found = false;
  let at = 0;
  while (at < extra.length) {
    const end = extra.length - at < 4 ? Number.POSITIVE_INFINITY : at + 4 + view.getUint16(at + 2, true);
    if (end > extra.length) throw damaged(where, "extra fields that end inside their header", "one that does not");
    if (view.getUint16(at, true) === 0x0001) {
      if (found || end - at - 4 !== 8 * wide.length) {
        throw damaged(where, `one zip64 field of ${8 * wide.length} bytes`, found ? "two" : `${end - at - 4} bytes`);
      }
      found = true;
      for (const [index, field] of wide.entries()) fields[field] = smallInteger(view, at + 4 + 8 * index, where);
    }
    at = end;
  }
  if (wide.length > 0 && !found) throw damaged(where, "a zip64 field for its large sizes", "none");
}

/** Checks the local header of an entry that takes the file up to `end`, and finds its content. */
async function locate(file: RandomAccess, entry: CentralEntry, end: number, where: string): Promise<ZipEntry> {
  const nameLength = entry.nameBytes.length;
  const fixed = size.local + nameLength;
  if (entry.local + fixed > end) throw damaged(where, `its header to end by byte ${end}`, `${fixed} bytes of it`);
  const header = await file.read(entry.local, entry.local + fixed);
  const view = viewOf(header);
  if (view.getUint32(0, true) !== signature.local) throw damaged(where, "its local header", "something else");
  const flags = view.getUint16(6, true);
  checkMethod(flags, view.getUint16(8, true), where);
  const sameName =
    view.getUint16(26, true) === nameLength &&
    entry.nameBytes.every((byte, index) => byte === header[size.local + index]);
  if (!sameName || flags !== entry.flags) {
    throw damaged(where, "the name and flags of the directory in its local header", "others");
  }
  const start = entry.local + fixed + view.getUint16(28, true);
  const contentEnd = start + entry.size;
  const rest = end - contentEnd;
  const described = (flags & flagDescriptor) !== 0;
  if (described ? rest !== 16 && rest !== 24 : rest !== 0) {
    throw damaged(where, `content that ends where the next part begins, at byte ${end}`, `its end at ${contentEnd}`);
  }
  const local = [view.getUint32(14, true), view.getUint32(18, true), view.getUint32(22, true)];
  const declared = described ? [0, 0, 0] : [entry.crc32, entry.size, entry.size];
  if (local.some((value, index) => value !== declared[index])) {
    throw damaged(where, `checksum and sizes ${declared} in its local header`, `${local}`);
  }
  if (described) checkDescriptor(await file.read(contentEnd, end), entry, where);
  return { name: entry.name, start, end: contentEnd, crc32: entry.crc32 };
}

function checkDescriptor(bytes: Uint8Array, entry: CentralEntry, where: string): void {
  const view = viewOf(bytes);
  const sizes =
    bytes.length === 16
      ? [view.getUint32(8, true), view.getUint32(12, true)]
      : [smallInteger(view, 8, where), smallInteger(view, 16, where)];
  if (view.getUint32(0, true) !== signature.descriptor || view.getUint32(4, true) !== entry.crc32) {
    throw damaged(where, "a data descriptor with the directory's checksum behind its content", "something else");
  }
  if (sizes.some((value) => value !== entry.size)) {
    throw damaged(where, `${entry.size} bytes in its data descriptor, as in the directory`, `${sizes}`);
  }
}

function checkMethod(flags: number, method: number, where: string): void {
  if (method !== 0) throw notSupported(where, "an entry stored without compression", `method ${method}`);
  if ((flags & ~(flagDescriptor | flagUtf8)) !== 0) {
    throw notSupported(where, "no encryption and no other flags", `flags 0x${flags.toString(16)}`);
  }
}

function decodeName(bytes: Uint8Array, where: string): string {
  if (bytes.length === 0 || bytes.length > limits.nameBytes) {
    throw damaged(where, `a name of 1 to ${limits.nameBytes} bytes`, `${bytes.length}`);
  }
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch (cause) {
    throw damaged(where, "a name in UTF-8", "other bytes", cause);
  }
}

/** A 64-bit number; beyond 2^53 there are no files. */
function smallInteger(view: DataView, at: number, where: string): number {
  const value = view.getBigUint64(at, true);
  if (value > BigInt(Number.MAX_SAFE_INTEGER)) throw damaged(where, "a size or offset within the file", `${value}`);
  return Number(value);
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
