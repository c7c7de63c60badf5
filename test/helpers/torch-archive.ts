/** Builds archives as torch.save writes them, with any field made to lie, and files in memory that watch their reader. */
import { crc32 } from "node:zlib";
import type { RandomAccess } from "../../src/model/checkpoint/random-access.js";

export type Part = number | string | Uint8Array | Part[];

/** Bytes from numbers (one byte each), ASCII text and byte arrays. */
export function bytesOf(...parts: Part[]): Uint8Array {
  return join(parts);
}

function join(parts: Part[]): Uint8Array {
  return Buffer.concat(
    parts.map((part) => {
      if (typeof part === "number") return Uint8Array.of(part);
      if (typeof part === "string") return Buffer.from(part, "utf8");
      return Array.isArray(part) ? join(part) : part;
    }),
  );
}

export function u16(value: number): Uint8Array {
  return littleEndian(2, (view) => view.setUint16(0, value, true));
}

export function u32(value: number): Uint8Array {
  return littleEndian(4, (view) => view.setUint32(0, value, true));
}

export function u64(value: bigint | number): Uint8Array {
  return littleEndian(8, (view) => view.setBigUint64(0, BigInt(value), true));
}

function littleEndian(size: number, set: (view: DataView) => void): Uint8Array {
  const bytes = new Uint8Array(size);
  set(new DataView(bytes.buffer));
  return bytes;
}

/** An entry; the fields after `data` replace what would be true. */
export interface EntrySpec {
  name: string | Uint8Array;
  data: Uint8Array;
  method?: number;
  flags?: number;
  crc?: number;
  /** Sizes and offset in the central directory. */
  size?: number;
  stored?: number;
  local?: number;
  centralExtra?: Uint8Array;
  disk?: number;
  localName?: string;
  localFlags?: number;
  localSize?: number;
  localSignature?: number;
  descriptor?: Uint8Array;
  /** Bytes put before the local header. */
  before?: Uint8Array;
}

/** Fields of the records at the end that replace the true ones. */
export interface EndSpec {
  entries?: number;
  size?: number;
  start?: number;
  comment?: string;
  disk?: number;
  /** Leave out the zip64 record and its locator. */
  no64?: boolean;
  entries64?: bigint;
  size64?: bigint;
  start64?: bigint;
  recordSize?: bigint;
  locator?: bigint;
}

export function zip(entries: EntrySpec[], end: EndSpec = {}): Uint8Array {
  const parts: Uint8Array[] = [];
  let position = 0;
  const add = (...bytes: Part[]) => {
    const part = bytesOf(...bytes);
    parts.push(part);
    position += part.length;
  };
  const central = entries.map((entry) => {
    const { data, method = 0, flags = 0x0808, disk = 0, centralExtra = new Uint8Array() } = entry;
    const name = bytesOf(entry.name);
    const crc = entry.crc ?? crc32(data);
    const { size = data.length, stored = size } = entry;
    if (entry.before) add(entry.before);
    const local = entry.local ?? position;
    const localName = bytesOf(entry.localName ?? entry.name);
    const localFlags = entry.localFlags ?? flags;
    const described = (localFlags & 8) !== 0;
    const localSize = entry.localSize ?? (described ? 0 : size);
    add(u32(entry.localSignature ?? 0x04034b50), u16(0), u16(localFlags), u16(method), u32(0));
    add(u32(described ? 0 : crc), u32(localSize), u32(localSize), u16(localName.length), u16(0), localName, data);
    if (described) add(entry.descriptor ?? bytesOf("PK\x07\x08", u32(crc), u32(data.length), u32(data.length)));
    const header = bytesOf("PK\x01\x02", u16(0), u16(0), u16(flags), u16(method), u32(0), u32(crc));
    const sizes = bytesOf(u32(stored), u32(size), u16(name.length), u16(centralExtra.length), u16(0), u16(disk));
    return bytesOf(header, sizes, u16(0), u32(0), u32(local), name, centralExtra);
  });
  const start = position;
  add(...central);
  const size = position - start;
  const recordAt = position;
  if (!end.no64) {
    const count = end.entries64 ?? BigInt(entries.length);
    add("PK\x06\x06", u64(end.recordSize ?? 44n), u16(0x31e), u16(0x2d), u32(0), u32(0), u64(count), u64(count));
    add(u64(end.size64 ?? BigInt(size)), u64(end.start64 ?? BigInt(start)));
    add("PK\x06\x07", u32(0), u64(end.locator ?? BigInt(recordAt)), u32(1));
  }
  const count = u16(end.entries ?? entries.length);
  add("PK\x05\x06", u16(end.disk ?? 0), u16(0), count, count, u32(end.size ?? size), u32(end.start ?? start));
  add(u16(end.comment?.length ?? 0), end.comment ?? "");
  return bytesOf(...parts);
}

/** Entries of a checkpoint with this pickle and these storages. */
export function checkpointEntries(pickle: Uint8Array, storages: Record<string, Uint8Array> = {}): EntrySpec[] {
  return [
    { name: "m/data.pkl", data: pickle },
    { name: "m/byteorder", data: bytesOf("little") },
    ...Object.entries(storages).map(([key, data]) => ({ name: `m/data/${key}`, data })),
    { name: "m/version", data: bytesOf("3\n") },
  ];
}

/** Pieces of a pickle of protocol 2. */
export const p = {
  proto: [0x80, 2],
  stop: ".",
  mark: "(",
  dict: "}",
  setItem: "s",
  reduce: "R",
  global: (module: string, name: string): Part => ["c", module, "\n", name, "\n"],
  text: (value: string): Part => ["X", u32(Buffer.byteLength(value)), value],
  int: (value: number): Part => {
    const bytes = new Uint8Array(4);
    new DataView(bytes.buffer).setInt32(0, value, true);
    return ["J", bytes];
  },
  /** LONG1 of 8 bytes. */
  long: (value: bigint): Part => [0x8a, 8, u64(BigInt.asUintN(64, value))],
  tuple: (...items: Part[]): Part => ["(", ...items, "t"],
  orderedDict: ["ccollections\nOrderedDict\n", ")R"] as Part,
};

export interface TensorSpec {
  kind?: Part;
  type?: Part;
  key?: Part;
  device?: Part;
  length?: Part;
  offset?: Part;
  shape?: Part;
  strides?: Part;
  requiresGrad?: Part;
  hooks?: Part;
  /** Arguments after the sixth. */
  more?: Part;
}

/** A call of _rebuild_tensor_v2: by default storage "0", six floats, as 2 x 3. */
export function tensorCall(spec: TensorSpec = {}): Part {
  const id = p.tuple(
    spec.kind ?? p.text("storage"),
    spec.type ?? p.global("torch", "FloatStorage"),
    spec.key ?? p.text("0"),
    spec.device ?? p.text("cpu"),
    spec.length ?? p.int(6),
  );
  const shape = spec.shape ?? p.tuple(p.int(2), p.int(3));
  const strides = spec.strides ?? p.tuple(p.int(3), p.int(1));
  const rest = [spec.requiresGrad ?? 0x89, spec.hooks ?? p.orderedDict, spec.more ?? []];
  return [
    p.global("torch._utils", "_rebuild_tensor_v2"),
    p.tuple([id, "Q"], spec.offset ?? p.int(0), shape, strides, ...rest),
    p.reduce,
  ];
}

/** The pickle of a plain dict with these names and values. */
export function dictPickle(...items: [name: Part, value: Part][]): Uint8Array {
  return bytesOf(p.proto, p.dict, ...items.map(([name, value]) => [name, value, p.setItem]), p.stop);
}

/** A file in memory that fails the test when it is asked for bytes it does not have, and counts what was read. */
export class WatchedFile implements RandomAccess {
  bytesRead = 0;
  largestRead = 0;
  closed = 0;

  constructor(
    readonly byteLength: number,
    private readonly slice: (start: number, end: number) => Uint8Array,
  ) {}

  static of(bytes: Uint8Array): WatchedFile {
    return new WatchedFile(bytes.length, (start, end) => new Uint8Array(bytes.subarray(start, end)));
  }

  async read(start: number, end: number): Promise<Uint8Array> {
    if (!(Number.isSafeInteger(start) && Number.isSafeInteger(end) && start >= 0 && start <= end)) {
      throw new RangeError(`a read of [${start}, ${end})`);
    }
    if (end > this.byteLength) throw new RangeError(`a read of [${start}, ${end}) in ${this.byteLength} bytes`);
    this.bytesRead += end - start;
    this.largestRead = Math.max(this.largestRead, end - start);
    return this.slice(start, end);
  }

  async close(): Promise<void> {
    this.closed++;
  }
}
