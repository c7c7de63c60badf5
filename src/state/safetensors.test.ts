import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { PicasoError } from "../errors.js";
import { MAX_HEADER_BYTES, parseSafetensorsHeader, readSafetensors, writeSafetensors } from "./safetensors.js";

const utf8 = new TextEncoder();

/** A file with this header text and this many zero bytes of data. */
function file(header: string | Uint8Array, dataBytes = 0, declared?: bigint): Uint8Array {
  const json = typeof header === "string" ? utf8.encode(header) : header;
  const bytes = new Uint8Array(8 + json.length + dataBytes);
  new DataView(bytes.buffer).setBigUint64(0, declared ?? BigInt(json.length), true);
  bytes.set(json, 8);
  return bytes;
}

const entry = (shape: string, offsets: string, dtype = "F32") =>
  `{"dtype":"${dtype}","shape":${shape},"data_offsets":${offsets}}`;

function errorOf(run: () => unknown): PicasoError {
  try {
    run();
  } catch (error) {
    if (error instanceof PicasoError) return error;
    throw error;
  }
  throw new Error("did not throw");
}

const good = file(`{"a":${entry("[2,3]", "[0,24]")}}`, 24);

describe("bad files", () => {
  const cases: [name: string, bytes: Uint8Array, message: RegExp, code?: string][] = [
    ["an empty file", new Uint8Array(0), /f\.st: expected a safetensors file of 10 bytes or more, found 0 bytes/],
    ["fewer than 8 bytes", new Uint8Array(7), /found 7 bytes/],
    ["only a header length", file("", 0), /found 8 bytes/],
    ["a header longer than the file", file("{}", 0, 3n), /header length: expected at most 2, .* found 3/],
    ["a header length beyond the limit", file("{}", 0, 100_000_001n), /at most 100000000 bytes, found 100000001/],
    ["a header length of 2^64 - 1", file("{}", 0, 2n ** 64n - 1n), /found 18446744073709551615/],
    ["a truncated header", good.subarray(0, 30), /header length/],
    ["truncated data", good.subarray(0, good.length - 1), /tensor "a", data_offsets: expected at most the 23 bytes/],
    ["bytes after the last tensor", new Uint8Array([...good, 0]), /its end at byte \d+, after the last tensor/],
    ["invalid UTF-8", file(new Uint8Array([0x7b, 0x22, 0xff, 0x22, 0x7d])), /header: expected UTF-8 text/],
    ["a byte order mark", file("\ufeff{}"), /header: expected an object/],
    ["an array", file("[]"), /header: expected an object, found "\[\]"/],
    ["a header of null", file("null"), /expected an object/],
    ["a header cut off", file('{"a"'), /expected ":" after "a", found the end of the header/],
    ["a name that does not end", file('{"a\\"}'), /one that does not end/],
    ["a string with an invalid escape", file('{"\\x":1}'), /a string in JSON form/],
    ["a string with a raw line break", file('{"a\nb":1}'), /a string in JSON form/],
    ["text after the header", file("{} x"), /its end after the last entry, found "x"/],
    ["a trailing comma", file('{"__metadata__":{},}'), /a string, found "}"/],
    ["a single-quoted name", file("{'a':1}"), /a string, found/],
    ["a million opening brackets", file("[".repeat(1_000_000)), /expected an object/],
    ["a million nested shapes", file(`{"a":{"shape":${"[".repeat(1_000_000)}`), /a whole number, found/],
    ["a tensor given twice", file(`{"a":${entry("[1]", "[0,4]")},"a":${entry("[1]", "[4,8]")}}`, 8), /"a" twice/],
    ["metadata given twice", file('{"__metadata__":{},"__metadata__":{}}'), /"__metadata__" twice/],
    ["a metadata key given twice", file('{"__metadata__":{"k":"1","k":"2"}}'), /__metadata__: .*"k" twice/],
    ["metadata that is a number", file('{"__metadata__":{"k":1}}'), /__metadata__\.k: expected a string, found "1/],
    ["metadata that is an object", file('{"__metadata__":{"k":{}}}'), /__metadata__\.k: expected a string/],
    ["metadata that is a list", file('{"__metadata__":[]}'), /__metadata__: expected an object/],
    ["an entry that is a list", file('{"a":[]}'), /tensor "a": expected an object/],
    ["an entry without dtype", file('{"a":{"shape":[],"data_offsets":[0,4]}}', 4), /tensor "a": .* found no dtype/],
    ["an empty entry", file('{"a":{}}'), /tensor "a": .* found no dtype/],
    ["an entry without shape", file('{"a":{"dtype":"U8","data_offsets":[0,0]}}'), /found no shape/],
    ["an entry without offsets", file('{"a":{"dtype":"U8","shape":[0]}}'), /found no data_offsets/],
    ["an entry with a foreign field", file('{"a":{"dtype":"F32","strides":[1]}}'), /found "strides"/],
    ["a dtype that is a number", file('{"a":{"dtype":32}}'), /tensor "a", dtype: expected a string/],
    ["a dtype nobody knows", file(`{"a":${entry("[1]", "[0,4]", "F33")}}`, 4), /dtype: expected F64, .* found "F33"/],
    ["a dtype named like a property", file(`{"a":${entry("[1]", "[0,4]", "toString")}}`, 4), /found "toString"/],
    ["a negative dimension", file(`{"a":${entry("[-1]", "[0,4]")}}`, 4), /shape: expected a whole number .*-1/],
    ["a fractional dimension", file(`{"a":${entry("[1.5]", "[0,4]")}}`, 4), /found 1\.5/],
    ["a dimension with an exponent", file(`{"a":${entry("[1e0]", "[0,4]")}}`, 4), /found 1e0/],
    ["a dimension with a leading zero", file(`{"a":${entry("[01]", "[0,4]")}}`, 4), /found 01/],
    ["a dimension of 2^53", file(`{"a":${entry("[9007199254740992]", "[0,4]")}}`, 4), /found 9007199254740992/],
    ["a dimension that is a string", file(`{"a":${entry('["1"]', "[0,4]")}}`, 4), /a whole number, found/],
    ["a shape that is a number", file(`{"a":${entry("1", "[0,4]")}}`, 4), /shape: expected an array/],
    ["an overflowing shape", file(`{"a":${entry("[4294967296,4294967296]", "[0,0]")}}`), /fewer than 2\^53 bytes/],
    ["a shape that overflows to infinity", file(`{"a":${entry(`[${Array(99).fill(1e15)}]`, "[0,0]")}}`), /2\^53/],
    ["three offsets", file(`{"a":${entry("[1]", "[0,4,4]")}}`, 4), /a first and a last offset/],
    ["one offset", file(`{"a":${entry("[1]", "[4]")}}`, 4), /a first and a last offset/],
    ["reversed offsets", file(`{"a":${entry("[1]", "[4,0]")}}`, 4), /in order, found \[4,0\]/],
    ["an offset past the end", file(`{"a":${entry("[2]", "[0,8]")}}`, 4), /at most the 4 bytes .* found 8/],
    ["a length that does not fit", file(`{"a":${entry("[2]", "[0,4]")}}`, 4), /8 bytes for F32 \[2\], found 4/],
    ["overlapping tensors", file(`{"a":${entry("[2]", "[0,8]")},"b":${entry("[1]", "[4,8]")}}`, 8), /overlapping/],
    ["a hole at the start", file(`{"a":${entry("[1]", "[4,8]")}}`, 8), /"a": expected its data at byte .*a hole/],
    ["a hole between", file(`{"a":${entry("[1]", "[0,4]")},"b":${entry("[1]", "[8,12]")}}`, 12), /"b": .*a hole/],
    ["a dtype not read here", file(`{"a":${entry("[1]", "[0,1]", "F8_E4M3")}}`, 1), /found F8_E4M3/, "unsupported"],
  ];

  it.each(cases)("%s", (_, bytes, message, code = "bad-file") => {
    const error = errorOf(() => readSafetensors(bytes, "f.st"));
    expect(error.code).toBe(code);
    expect(error.message).toMatch(message);
    expect(error.details.where).toMatch(/^f\.st/);
    expect(error.message.length).toBeLessThan(600);
  });

  it("is decided by the file's size, not by the bytes at hand", () => {
    const json = utf8.encode(`{"a":${entry("[2,3]", "[0,24]")}}`);
    expect(parseSafetensorsHeader(json, 8 + json.length + 24, "f").tensors.get("a")!.end).toBe(8 + json.length + 24);
    expect(errorOf(() => parseSafetensorsHeader(json, 8 + json.length + 23, "f")).code).toBe("bad-file");
    expect(MAX_HEADER_BYTES).toBe(100_000_000);
  });
});

describe("good files", () => {
  it("with white space, escapes, scalars and empty tensors", () => {
    const header = ` { "__metadata__" : { "k\\u00e9" : "a\\"b" } , "__proto__":${entry("[]", "[0,4]")},
      "empty":${entry("[0,9007199254740991]", "[4,4]", "U8")} }   `;
    const { metadata, tensors, dataStart } = readSafetensors(file(header, 4), "f");
    expect(metadata).toEqual({ ké: 'a"b' });
    expect([...tensors.keys()]).toEqual(["__proto__", "empty"]);
    expect(tensors.get("__proto__")).toEqual({ dtype: "F32", shape: [], begin: dataStart, end: dataStart + 4 });
    expect(tensors.get("empty")!.end).toBe(dataStart + 4);
  });

  it("whose data is in another order than the header", () => {
    const header = `{"a":${entry("[1]", "[4,8]")},"b":${entry("[1]", "[0,4]")}}`;
    expect([...readSafetensors(file(header, 8), "f").tensors.keys()]).toEqual(["a", "b"]);
  });

  it.each(["golden-g1/golden", "golden-g1/model", "golden-g2/golden", "golden-g2/model", "golden-weights"])(
    "written by the reference writer: %s, and written again",
    (name) => {
      const bytes = readFileSync(new URL(`../../test/fixtures/${name}.safetensors`, import.meta.url));
      const { metadata, tensors } = readSafetensors(bytes, name);
      expect(tensors.size).toBeGreaterThan(20);
      const copy = writeSafetensors(
        [...tensors].map(([key, { dtype, shape, begin, end }]) => ({
          name: key,
          dtype,
          shape,
          bytes: bytes.subarray(begin, end),
        })),
        metadata,
      );
      const again = readSafetensors(copy, "copy");
      expect(again.metadata).toEqual(metadata);
      expect([...again.tensors.keys()]).toEqual([...tensors.keys()]);
      for (const [key, { dtype, shape, begin, end }] of again.tensors) {
        const original = tensors.get(key)!;
        expect({ dtype, shape }).toEqual({ dtype: original.dtype, shape: original.shape });
        expect(Buffer.compare(copy.subarray(begin, end), bytes.subarray(original.begin, original.end))).toBe(0);
      }
    },
  );
});

describe("the writer", () => {
  it("keeps the order, names of every kind, and starts the data at a multiple of 8", () => {
    const names = ["b", "1", "a", 'q"\\', "é\u0000", "__proto__"];
    const written = writeSafetensors(
      names.map((name, i) => ({ name, dtype: "U8" as const, shape: [i], bytes: new Uint8Array(i).fill(i) })),
      { note: "\ud800 alone" },
    );
    const { metadata, tensors, dataStart } = readSafetensors(written, "f");
    expect(dataStart % 8).toBe(0);
    expect([...tensors.keys()]).toEqual(names);
    expect(metadata).toEqual({ note: "\ud800 alone" });
    for (const [i, name] of names.entries()) {
      const { begin, end } = tensors.get(name)!;
      expect([...written.subarray(begin, end)]).toEqual(Array(i).fill(i));
    }
  });

  it("with nothing to write gives a file that reads", () => {
    expect(readSafetensors(writeSafetensors([], {}), "f").tensors.size).toBe(0);
  });

  it.each([
    ["a name twice", ["a", "a"], [1], 4],
    ["the reserved name", ["__metadata__"], [1], 4],
    ["bytes that do not fit", ["a"], [2], 4],
    ["a shape that is no shape", ["a"], [-1], 4],
  ])("refuses %s", (_, names, shape, size) => {
    const tensors = names.map((name) => ({ name, dtype: "F32" as const, shape, bytes: new Uint8Array(size) }));
    expect(errorOf(() => writeSafetensors(tensors)).code).toBe("bad-argument");
  });
});
