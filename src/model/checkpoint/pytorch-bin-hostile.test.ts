/** Files made to mislead: each must be refused for its own reason, having read nothing outside the file. */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import {
  bytesOf,
  checkpointEntries,
  dictPickle,
  type EndSpec,
  type EntrySpec,
  type Part,
  p,
  type TensorSpec,
  tensorCall,
  u16,
  u32,
  u64,
  WatchedFile,
  zip,
} from "../../../test/helpers/torch-archive.js";
import { PicasoError, type PicasoErrorCode } from "../../errors.js";
import { pickleLimits } from "./pickle.js";
import { readPytorchBin } from "./pytorch-bin.js";

const fixtures = join(import.meta.dirname, "../../../test/fixtures/pytorch-bin");
const storages = { 0: new Uint8Array(24).fill(1) };
const goodPickle = dictPickle([p.text("w"), tensorCall()]);

/** Opens `bytes` and reads every tensor; gives the error, or undefined where all went well. */
async function open(bytes: Uint8Array): Promise<PicasoError | undefined> {
  const file = WatchedFile.of(bytes);
  try {
    const source = await readPytorchBin(file, "hostile.bin");
    for (const { name, byteLength } of source.tensors.values()) {
      expect((await source.read(name)).length).toBe(byteLength);
    }
    return undefined;
  } catch (error) {
    if (!(error instanceof PicasoError)) throw error;
    expect(error.details.where.startsWith("hostile.bin")).toBe(true);
    expect(error.message.length).toBeLessThan(600);
    return error;
  } finally {
    expect(file.bytesRead).toBeLessThanOrEqual(2 * file.byteLength + 500);
  }
}

async function refuses(bytes: Uint8Array, code: PicasoErrorCode, message: RegExp): Promise<void> {
  const error = await open(bytes);
  expect(error?.message ?? "opened").toMatch(message);
  expect(error?.code).toBe(code);
}

type Case = [name: string, code: PicasoErrorCode, message: RegExp];

describe("archives", () => {
  const good = () => checkpointEntries(goodPickle, storages);
  const change = (index: number, fields: Partial<EntrySpec>): EntrySpec[] =>
    good().map((entry, i) => (i === index ? { ...entry, ...fields } : entry));
  const at = (bytes: Uint8Array, offset: number, replacement: Uint8Array) => {
    const copy = new Uint8Array(bytes);
    copy.set(replacement, offset < 0 ? copy.length + offset : offset);
    return copy;
  };
  /** A zip64 extra field. */
  const extra = (...values: bigint[]) => bytesOf(u16(1), u16(8 * values.length), ...values.map(u64));
  const saturated = 0xffff_ffff;

  it("opens the one that the others are made from", async () => {
    expect(await open(zip(good()))).toBeUndefined();
    expect(await open(zip(good(), { no64: true }))).toBeUndefined();
    expect(await open(zip(good(), { entries: 0xffff, size: saturated, start: saturated }))).toBeUndefined();
    expect(await open(zip(good().map((entry) => ({ ...entry, flags: 0 }))))).toBeUndefined();
    expect(await open(zip(change(2, { size: saturated, stored: saturated, centralExtra: extra(24n, 24n) })))).toBe(
      undefined,
    );
  });

  it("refuses every beginning of a real file", async () => {
    const whole = new Uint8Array(await readFile(join(fixtures, "protocol-2.bin")));
    for (let length = 0; length < whole.length; length++) {
      expect((await open(whole.subarray(0, length)))?.code, `${length} bytes`).toBe("bad-file");
    }
    expect(await open(whole)).toBeUndefined();
  });

  const ends: [...Case, EndSpec][] = [
    ["a directory said to start one byte late", "bad-file", /ends at byte/, { start64: 413n, start: saturated }],
    ["a directory said to start beyond the file", "bad-file", /ends at byte/, { start64: 1n << 40n, start: saturated }],
    ["an offset of 2^63", "bad-file", /size or offset within the file/, { start64: 1n << 63n, start: saturated }],
    ["a directory size of 2^64 - 1", "bad-file", /within the file/, { size64: (1n << 64n) - 1n, size: saturated }],
    ["2^60 entries", "bad-file", /within the file/, { entries64: 1n << 60n, entries: 0xffff }],
    ["a million entries", "unsupported", /at most 65536 entries/, { entries64: 1_000_000n, entries: 0xffff }],
    ["fewer entries than there are", "bad-file", /expected 3 entries, found 4/, { entries64: 3n, entries: 3 }],
    ["more entries than there are", "bad-file", /expected 5 entries, found 4/, { entries64: 5n, entries: 5 }],
    ["two numbers of entries", "bad-file", /as in the zip64 record/, { entries: 3 }],
    ["two directory sizes", "bad-file", /size \d+, as in the zip64 record/, { size: 7 }],
    ["two directory offsets", "bad-file", /start \d+, as in the zip64 record/, { start: 7 }],
    ["a locator that points elsewhere", "bad-file", /zip64 record/, { locator: 0n }],
    ["a locator that points beyond the file", "bad-file", /zip64 record/, { locator: 1n << 62n }],
    ["a zip64 record of another size", "bad-file", /zip64 record/, { recordSize: 1n << 50n }],
    ["saturated fields without a zip64 record", "bad-file", /ends at byte/, { no64: true, start: saturated }],
    ["a comment", "bad-file", /end-of-directory record/, { comment: "PK" }],
    ["several parts", "bad-file", /in one part/, { disk: 1 }],
  ];
  it.each(ends)("refuses %s", (_, code, message, end) => refuses(zip(good(), end), code, message));

  const entries: [...Case, () => EntrySpec[]][] = [
    ["an entry larger than the file", "bad-file", /content that ends/, () => change(2, { size: 1 << 30 })],
    ["an entry that ends in the next one", "bad-file", /content that ends/, () => change(2, { size: 60 })],
    ["an entry shorter than its bytes", "bad-file", /content that ends/, () => change(2, { size: 20 })],
    ["stored and real sizes that differ", "bad-file", /stored for 24 bytes/, () => change(2, { stored: 23 })],
    ["two entries in one place", "bad-file", /header to end by byte 0/, () => change(2, { local: 0 })],
    ["an entry beyond the file", "bad-file", /before the directory/, () => change(3, { local: 1 << 30 })],
    ["an entry in the directory", "bad-file", /before the directory/, () => change(3, { local: 420 })],
    ["an entry that starts late", "bad-file", /content that ends/, () => change(3, { local: 350 })],
    ["hidden bytes at the start", "bad-file", /begins as a zip/, () => change(0, { before: bytesOf("hello") })],
    ["hidden bytes between entries", "bad-file", /content that ends/, () => change(2, { before: bytesOf("hello") })],
    ["a name twice", "bad-file", /each name once/, () => [...good(), { name: "m/data/0", data: storages[0] }]],
    ["a compressed entry", "unsupported", /method 8.*safetensors/, () => change(2, { method: 8 })],
    ["an encrypted entry", "unsupported", /flags 0x809/, () => change(2, { flags: 0x809 })],
    ["another name in the local header", "bad-file", /name and flags/, () => change(2, { localName: "m/data/1" })],
    ["a longer name in the local header", "bad-file", /name and flags/, () => change(2, { localName: "m/data/00" })],
    ["other flags in the local header", "bad-file", /name and flags/, () => change(2, { localFlags: 0 })],
    ["another size in the local header", "bad-file", /its local header/, () => change(2, { localSize: 8 })],
    ["no local header", "bad-file", /its local header/, () => change(2, { localSignature: 0 })],
    ["a descriptor of another size", "bad-file", /data descriptor/, () => change(2, { descriptor: descriptor(25) })],
    [
      "a descriptor with another CRC",
      "bad-file",
      /data descriptor/,
      () => change(2, { crc: 1, descriptor: descriptor(24) }),
    ],
    ["a descriptor of 2^63 bytes", "bad-file", /within the file/, () => change(2, { descriptor: wideDescriptor() })],
    ["a data.pkl that fails its CRC", "bad-file", /CRC-32 0x00000007/, () => change(0, { crc: 7 })],
    ["a zip64 size of 2^63", "bad-file", /within the file/, () => change(2, wide(extra(1n << 63n, 1n << 63n)))],
    ["a zip64 size of 2^50", "bad-file", /content that ends/, () => change(2, wide(extra(1n << 50n, 1n << 50n)))],
    ["no zip64 field for a saturated size", "bad-file", /zip64 field/, () => change(2, wide(new Uint8Array()))],
    ["a zip64 field that is too short", "bad-file", /zip64 field of 16/, () => change(2, wide(extra(24n)))],
    ["two zip64 fields", "bad-file", /found two/, () => change(2, wide(bytesOf(extra(24n, 24n), extra(24n, 24n))))],
    ["a zip64 field for nothing", "bad-file", /zip64 field of 0/, () => change(2, { centralExtra: extra(24n) })],
    [
      "an extra field past its header",
      "bad-file",
      /end inside/,
      () => change(2, { centralExtra: bytesOf(u32(0xffff_0001)) }),
    ],
    ["an entry in another part", "bad-file", /in one part/, () => change(2, { disk: 1 })],
    ["a name that is not UTF-8", "bad-file", /UTF-8/, () => change(2, { name: Uint8Array.of(0xff, 0xfe) })],
    ["an empty name", "bad-file", /a name of 1 to/, () => change(2, { name: "" })],
    ["a name of 60,000 bytes", "bad-file", /a name of 1 to/, () => change(2, { name: "x".repeat(60_000) })],
    ["no entries", "bad-file", /begins as a zip archive/, () => []],
    ["no data.pkl", "bad-file", /found 0/, () => good().slice(1)],
    ["two of them", "bad-file", /found 2/, () => [...good(), { name: "n/data.pkl", data: goodPickle }]],
    ["a data.pkl of 17 MB", "unsupported", /at most 16777216/, () => change(0, { data: new Uint8Array(17 << 20) })],
    ["big-endian bytes", "unsupported", /"little", found "big"/, () => change(1, { data: bytesOf("big") })],
    ["another byte order", "unsupported", /"little", found "pdp"/, () => change(1, { data: bytesOf("pdp") })],
    ["another version", "unsupported", /found "4"/, () => change(3, { data: bytesOf("4\n") })],
    ["a version of 1 kB", "unsupported", /at most 16 bytes/, () => change(3, { data: new Uint8Array(1000) })],
    ["no version", "unsupported", /no such entry/, () => good().slice(0, 3)],
  ];
  const wide = (centralExtra: Uint8Array) => ({ size: saturated, stored: saturated, centralExtra });
  const descriptor = (size: number) => bytesOf("PK\x07\x08", u32(crcOfStorage), u32(size), u32(size));
  const wideDescriptor = () => bytesOf("PK\x07\x08", u32(crcOfStorage), u64(1n << 63n), u64(1n << 63n));
  let crcOfStorage = 0;
  beforeAll(async () => {
    crcOfStorage = (await import("node:zlib")).crc32(storages[0]);
  });
  it.each(entries)("refuses %s", (_, code, message, make) => refuses(zip(make()), code, message));

  it("refuses bytes after the end", () => refuses(bytesOf(zip(good()), 0), "bad-file", /end-of-directory/));

  it("refuses a directory with a damaged header", async () => {
    const bytes = zip(good());
    const header = Buffer.from(bytes).lastIndexOf("PK\x01\x02");
    await refuses(at(bytes, header, bytesOf("PX")), "bad-file", /header of an entry/);
    await refuses(at(bytes, header + 28, u16(0xffff)), "bad-file", /ends inside the directory/);
  });
});

/** A checkpoint with this pickle after its PROTO, ended by STOP. */
function withPickle(...parts: Part[]): Uint8Array {
  return zip(checkpointEntries(bytesOf(p.proto, ...parts, p.stop), storages));
}

describe("pickles", () => {
  const call = (module: string, name: string) => [p.global(module, name), p.tuple(p.text("true")), p.reduce];
  const notNeeded = (name: string) => new RegExp(`global "${name.replaceAll(".", "\\.")}"`);
  const opcode = (name: string, code: string) => new RegExp(`opcode ${name} \\(${code}\\)`);
  const repeat = (count: number, ...parts: Part[]) => new Array<Part>(count).fill(bytesOf(...parts));

  const cases: [...Case, ...Part[]][] = [
    ["os.system", "unsupported", notNeeded("os.system"), call("os", "system")],
    ["posix.system", "unsupported", notNeeded("posix.system"), call("posix", "system")],
    ["builtins.eval", "unsupported", notNeeded("builtins.eval"), call("builtins", "eval")],
    ["__builtin__.exec", "unsupported", notNeeded("__builtin__.exec"), call("__builtin__", "exec")],
    ["torch.load", "unsupported", notNeeded("torch.load"), call("torch", "load")],
    ["a storage type of another module", "unsupported", notNeeded("os.FloatStorage"), p.global("os", "FloatStorage")],
    [
      "a dotted name",
      "unsupported",
      notNeeded("torch._utils._rebuild_tensor_v2"),
      [p.text("torch"), p.text("_utils._rebuild_tensor_v2"), 0x93],
    ],
    ["os.system by STACK_GLOBAL", "unsupported", notNeeded("os.system"), p.text("os"), p.text("system"), 0x93],
    ["STACK_GLOBAL of numbers", "bad-file", /found 1 and 2/, p.int(1), p.int(2), 0x93],
    [
      "a name of a JavaScript object",
      "unsupported",
      notNeeded("__proto__.constructor"),
      p.global("__proto__", "constructor"),
    ],
    ["control characters in a global", "unsupported", /global "\\u001b\[31mos.x"/, p.global("\x1b[31mos", "x")],
    ["a name of 2,000 bytes", "bad-file", /line feed/, p.global("o".repeat(2000), "x")],
    ["INST", "unsupported", opcode("INST", "0x69"), "(", p.text("x"), "ios\nsystem\n"],
    ["OBJ", "unsupported", opcode("OBJ", "0x6f"), "o"],
    ["NEWOBJ", "unsupported", opcode("NEWOBJ", "0x81"), p.global("collections", "OrderedDict"), ")", 0x81],
    ["NEWOBJ_EX", "unsupported", opcode("NEWOBJ_EX", "0x92"), 0x92],
    ["EXT1", "unsupported", opcode("EXT1", "0x82"), 0x82, 1],
    ["PERSID", "unsupported", opcode("PERSID", "0x50"), "P0\n"],
    ["BYTEARRAY8 of 2^62 bytes", "unsupported", opcode("BYTEARRAY8", "0x96"), 0x96, u64(1n << 62n)],
    ["BINBYTES8 of 2^62 bytes", "unsupported", opcode("BINBYTES8", "0x8e"), 0x8e, u64(1n << 62n)],
    ["LONG4 of 2^31 bytes", "unsupported", opcode("LONG4", "0x8b"), 0x8b, u32(0x7fff_ffff)],
    ["DUP", "unsupported", opcode("DUP", "0x32"), p.dict, "2"],
    ["PROTO again", "unsupported", opcode("PROTO", "0x80"), 0x80, 2],
    ["an opcode of no protocol", "unsupported", /opcode 0xff/, 0xff],
    [
      "REDUCE of a storage type",
      "unsupported",
      /REDUCE of the global torch.FloatStorage/,
      p.global("torch", "FloatStorage"),
      ")R",
    ],
    ["REDUCE of a string", "unsupported", /REDUCE of a string/, p.text("os.system"), ")R"],
    ["REDUCE without a tuple", "bad-file", /tuple of arguments/, p.global("collections", "OrderedDict"), p.dict, "R"],
    [
      "OrderedDict with arguments",
      "unsupported",
      /without arguments/,
      p.global("collections", "OrderedDict"),
      p.dict,
      0x85,
      "R",
    ],
    ["BUILD on a plain dict", "unsupported", /BUILD on a dict/, p.dict, p.dict, "b"],
    ["BUILD on a tensor", "unsupported", /BUILD on an object/, tensorCall(), p.dict, "b"],
    ["BUILD with a tuple", "unsupported", /dict of attributes, found a tuple/, p.orderedDict, ")b"],
    ["BUILD twice", "unsupported", /once/, p.orderedDict, p.dict, "b", p.dict, "b"],
    [
      "another attribute",
      "unsupported",
      /found "__class__"/,
      p.orderedDict,
      p.dict,
      p.text("__class__"),
      p.int(1),
      "sb",
    ],
    ["no value", "bad-file", /one value at the end/],
    ["two values", "bad-file", /one value at the end, found 2/, p.dict, p.dict],
    ["an open mark", "bad-file", /1 open marks/, p.dict, p.mark],
    ["more after STOP", "bad-file", /2 bytes more/, p.dict, ".}"],
    ["a root that is a tensor", "unsupported", /a state dict, found an object/, tensorCall()],
    ["a root that is a number", "unsupported", /a state dict, found 3/, p.int(3)],
    ["TUPLE2 of one value", "bad-file", /2 values on the stack, found 1/, p.int(1), 0x86],
    ["TUPLE2 across a mark", "bad-file", /2 values on the stack, found 1/, p.int(1), p.mark, p.int(1), 0x86],
    ["TUPLE without a mark", "bad-file", /an open mark/, p.int(1), "t"],
    ["SETITEMS of three", "bad-file", /in pairs/, p.dict, p.mark, p.text("a"), p.int(1), p.text("b"), "u"],
    ["SETITEM on a number", "bad-file", /a dict to set items of, found 7/, p.int(7), p.text("a"), p.int(1), "s"],
    ["a number as a key", "unsupported", /strings as keys/, p.dict, p.int(1), p.int(1), "s"],
    ["a name twice", "bad-file", /"a" twice/, p.dict, p.text("a"), p.int(1), "s", p.text("a"), p.int(1), "s"],
    ["a dict in itself", "unsupported", /complete before/, p.dict, "q", 0, p.text("a"), "h", 0, "s"],
    [
      "a dict that changes inside another",
      "unsupported",
      /complete before/,
      [
        [p.dict, "q", 0, p.dict, p.text("in"), "h", 0, "s"],
        ["h", 0, p.text("late"), p.int(1), "s"],
      ],
    ],
    ["a place of the memo that is empty", "bad-file", /place 7 of the memo/, "h", 7],
    ["a far place of the memo", "bad-file", /place 4294967295 of the memo/, "j", u32(0xffff_ffff)],
    ["a place of the memo filled twice", "bad-file", /place 0 again/, p.dict, "q", 0, "q", 0],
    ["a memo without a value", "bad-file", /a value on the stack/, "q", 0],
    ["a string past the end", "bad-file", /4294967295 bytes more/, "X", u32(0xffff_ffff), "abc"],
    ["a short string past the end", "bad-file", /200 bytes more/, 0x8c, 200, "abc"],
    ["a string of 5,000 bytes", "unsupported", /at most 1024 bytes/, p.text("x".repeat(5000))],
    ["a string that is not UTF-8", "bad-file", /UTF-8/, "X", u32(2), 0xc3, 0x28],
    ["an integer past the end", "bad-file", /4 bytes more/, "J", 1, 2],
    ["an integer of 255 bytes", "unsupported", /at most 8 bytes/, 0x8a, 255, new Uint8Array(255)],
    ["an integer of 2^62", "unsupported", /below 2\^53/, p.long(1n << 62n)],
    ["a frame past the end", "bad-file", /a frame within/, 0x95, u64((1n << 64n) - 1n)],
    ["deep tuples", "unsupported", /nested at most 16/, ")", repeat(100_000, 0x85)],
    ["a tuple that doubles", "unsupported", /nested at most 16/, ")", range(64).map((i) => ["q", i, "h", i, 0x86])],
    [
      "deep dicts",
      "unsupported",
      /nested at most 16/,
      [repeat(40, p.dict, p.text("a")).reverse(), p.int(1), repeat(40, p.setItem)],
    ],
    ["deep marks", "unsupported", /at most 16 open marks/, repeat(100_000, p.mark)],
    ["a deep stack", "unsupported", /values on the stack/, repeat(100_000, p.dict)],
    ["a full memo", "unsupported", /a memo of/, p.dict, range(pickleLimits.memo + 1).map((i) => ["r", u32(i)])],
    ["too many opcodes", "unsupported", /at most 1048576 opcodes/, repeat(pickleLimits.opcodes, 0x95, u64(0))],
  ];
  it.each(cases)("refuses %s", (_, code, message, ...parts) => refuses(withPickle(...parts), code, message));

  it("refuses every opcode but the 30 of state dicts, whatever follows it", async () => {
    // By PEP 307 and 3154, written down a second time: marks, tuples, dicts, strings, integers, booleans, the memo, and
    // what builds a tensor of a storage. PROTO only begins a pickle.
    const needed = "().JKMQRX}bchjqrstu\x85\x86\x87\x88\x89\x8a\x8c\x93\x94\x95";
    const codes = new Set([...needed].map((char) => char.charCodeAt(0)));
    for (const code of range(256).filter((each) => !codes.has(each))) {
      const error = await open(withPickle(p.dict, code, new Uint8Array(16)));
      expect(error?.code, `opcode ${code}`).toBe("unsupported");
      expect(error?.message).toMatch(new RegExp(`opcode .*0x${code.toString(16).padStart(2, "0")}`));
    }
    expect(codes.size).toBe(29);
  });

  it("names the file, the entry and the byte", async () => {
    const error = await open(withPickle(p.dict, p.text("w"), call("os", "system")));
    expect(error?.details.where).toBe("hostile.bin, data.pkl, byte 9");
  });

  it.each([
    ["protocol 1", /protocol 1/, bytesOf(0x80, 1, p.dict, p.stop)],
    ["protocol 6", /protocol 6/, bytesOf(0x80, 6, p.dict, p.stop)],
    ["no protocol", /no protocol/, bytesOf(p.dict, p.stop)],
    ["no STOP", /1 bytes more/, bytesOf(p.proto, p.dict)],
    ["an empty pickle", /1 bytes more/, new Uint8Array()],
  ])("refuses %s", async (_, message, pickle) => {
    expect((await open(zip(checkpointEntries(pickle))))?.message).toMatch(message);
  });

  it("opens an empty state dict", async () => {
    expect(await open(withPickle(p.dict))).toBeUndefined();
  });
});

describe("tensors", () => {
  const sizes = (...values: number[]) => p.tuple(...values.map(p.int));
  const many = 0x7fff_ffff;
  const arguments_ = /requires_grad, no hooks/;
  const reference = /a reference \("storage"/;

  const cases: [...Case, TensorSpec][] = [
    ["a storage larger than its entry", "bad-file", /7 elements of f32, 28 bytes, found 24/, { length: p.int(7) }],
    ["a storage of 2^52 elements", "bad-file", /found 24 bytes/, { length: p.long(1n << 52n) }],
    ["a storage smaller than its entry", "bad-file", /found 24 bytes/, { length: p.int(5) }],
    ["a wider type than its entry", "bad-file", /elements of f64/, { type: p.global("torch", "DoubleStorage") }],
    ["a negative storage", "bad-file", reference, { length: p.int(-6) }],
    ["a storage that is not there", "bad-file", /storage "1" in the archive/, { key: p.text("1") }],
    ["a storage outside its folder", "bad-file", /storage "\.\.\/data.pkl"/, { key: p.text("../data.pkl") }],
    ["a number as storage key", "bad-file", reference, { key: p.int(0) }],
    ["another kind of reference", "bad-file", reference, { kind: p.text("module") }],
    ["OrderedDict as storage type", "bad-file", reference, { type: p.global("collections", "OrderedDict") }],
    ["a shape larger than the storage", "bad-file", /within its storage/, { shape: sizes(3, 3) }],
    ["a shape that overflows", "bad-file", /within its storage/, { shape: sizes(many, many), strides: sizes(many, 1) }],
    ["a shape of 2^52", "bad-file", /within its storage/, { shape: p.tuple(p.long(1n << 52n)), strides: sizes(1) }],
    ["a negative shape", "bad-file", arguments_, { shape: sizes(-2, -3) }],
    ["a shape of strings", "bad-file", arguments_, { shape: p.tuple(p.text("2"), p.text("3")) }],
    ["a shape that is a number", "bad-file", arguments_, { shape: p.int(6) }],
    ["a shape of 100,000 bytes", "bad-file", arguments_, { shape: sizes(...range(10_000)) }],
    ["9 dimensions", "unsupported", /8 dimensions, found 9/, { shape: sizes(...ones(9)), strides: sizes(...ones(9)) }],
    ["an offset past the storage", "bad-file", /from element 1 of 6/, { offset: p.int(1) }],
    ["a far offset", "bad-file", /within its storage/, { offset: p.long((1n << 53n) - 1n) }],
    [
      "an offset past the end of no elements",
      "bad-file",
      /from element 7 of 6/,
      { offset: p.int(7), shape: sizes(0, 3) },
    ],
    ["a negative offset", "bad-file", arguments_, { offset: p.int(-1) }],
    ["columns", "unsupported", /contiguous rows/, { strides: sizes(1, 2) }],
    ["repeated rows", "unsupported", /strides \[0,1\]/, { strides: sizes(0, 1) }],
    ["rows with gaps", "unsupported", /contiguous rows/, { shape: sizes(1, 3), strides: sizes(3, 2) }],
    ["fewer strides than dimensions", "bad-file", arguments_, { strides: sizes(1) }],
    ["a tuple for requires_grad", "bad-file", arguments_, { requiresGrad: ")" }],
    ["hooks", "bad-file", arguments_, { hooks: [p.dict, p.text("x"), p.int(1), "s"] }],
    ["a seventh argument", "bad-file", arguments_, { more: p.dict }],
  ];
  it.each(cases)("refuses %s", (_, code, message, spec) =>
    refuses(zip(checkpointEntries(dictPickle([p.text("w"), tensorCall(spec)]), storages)), code, message),
  );

  it("opens a shape of nothing, however wide", async () => {
    const spec = { shape: sizes(many, many, 0), strides: sizes(0, 0, 1) };
    expect(await open(zip(checkpointEntries(dictPickle([p.text("w"), tensorCall(spec)]), storages)))).toBeUndefined();
  });

  const values: [...Case, Part, Part][] = [
    ["an empty name", "unsupported", /printable/, p.text(""), tensorCall()],
    ["a name with a line feed", "unsupported", /"a\\nb"/, p.text("a\nb"), tensorCall()],
    ["a name of 300 characters", "unsupported", /1 to 256/, p.text("w".repeat(300)), tensorCall()],
    ["a number for a tensor", "unsupported", /tensor "w": expected a tensor.*found 3/, p.text("w"), p.int(3)],
    [
      "a storage for a tensor",
      "unsupported",
      /found an object/,
      p.text("w"),
      [p.tuple(p.text("storage"), p.global("torch", "FloatStorage"), p.text("0"), p.text("cpu"), p.int(6)), "Q"],
    ],
    ["a reference that is a string", "bad-file", reference, p.text("w"), [p.text("0"), "Q"]],
    [
      "a parameter of a dict",
      "bad-file",
      /\(tensor, requires_grad/,
      p.text("w"),
      [p.global("torch._utils", "_rebuild_parameter"), p.tuple(p.dict, 0x88, p.orderedDict), p.reduce],
    ],
    [
      "a tensor of a tensor",
      "bad-file",
      arguments_,
      p.text("w"),
      [
        p.global("torch._utils", "_rebuild_tensor_v2"),
        p.tuple(tensorCall(), p.int(0), sizes(6), sizes(1), 0x89, p.orderedDict),
        p.reduce,
      ],
    ],
  ];
  it.each(values)("refuses %s", (_, code, message, name, value) =>
    refuses(zip(checkpointEntries(dictPickle([name, value]), storages)), code, message),
  );

  it("refuses one storage as two types", () => {
    const int = tensorCall({ type: p.global("torch", "IntStorage") });
    const pickle = dictPickle([p.text("a"), tensorCall()], [p.text("b"), int]);
    return refuses(zip(checkpointEntries(pickle, storages)), "bad-file", /as f32, as before, found i32/);
  });
});

describe("chance", () => {
  /** Numerical Recipes' linear congruential generator: the same damage in every run. */
  function* randomNumbers(seed: number): Generator<number, never> {
    for (let state = seed; ; ) {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      yield state / 2 ** 32;
    }
  }

  it.each(["mamba-ssm", "shared", "protocol-4", "no-checksums"])("damages %s in 1,500 ways", async (name) => {
    const whole = new Uint8Array(await readFile(join(fixtures, `${name}.bin`)));
    const random = randomNumbers(whole.length);
    const next = (below: number) => Math.floor(random.next().value * below);
    let refused = 0;
    for (let round = 0; round < 1500; round++) {
      const bytes = new Uint8Array(whole);
      // Most of a small archive is its directory and its pickle: a few bytes changed anywhere reach both.
      for (let changes = 1 + next(3); changes > 0; changes--) bytes[next(bytes.length)] = next(256);
      if (await open(bytes)) refused++;
    }
    // The rest fell on padding or on bytes of tensors that share their storage.
    expect(refused).toBeGreaterThan(500);
  });
});

function range(count: number): number[] {
  return [...new Array(count).keys()];
}

function ones(count: number): number[] {
  return new Array<number>(count).fill(1);
}
