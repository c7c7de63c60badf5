/** Small files that announce much: each must be refused before anything of the announced size is made. */
import { gzipSync } from "node:zlib";
import type { ColumnMetaData, PageHeader, SchemaTree } from "hyparquet";
import { describe, expect, test } from "vitest";
import { PicasoError } from "../../errors.js";
import { decompress } from "./parquet-decompress.js";
import { openPage } from "./parquet-page.js";
import { structEnd } from "./parquet-thrift.js";

function refused(work: () => unknown, code = "bad-file", message = /./): void {
  const started = performance.now();
  let error: unknown;
  try {
    work();
  } catch (thrown) {
    error = thrown;
  }
  expect(error).toBeInstanceOf(PicasoError);
  expect((error as PicasoError).code).toBe(code);
  expect((error as PicasoError).message).toMatch(message);
  expect(performance.now() - started).toBeLessThan(3000);
}

describe("structures", () => {
  const end = (bytes: number[]) => structEnd(Uint8Array.from(bytes), 0, "test");

  test("well-formed ones end where they end", () => {
    // Fields: i32 1, true, binary "ab", list of two i32, struct with one byte, double; then one byte more.
    const list = [0x19, 0x25, 2, 4];
    const struct = [0x1c, 0x13, 7, 0];
    const bytes = [0x15, 2, 0x11, 0x18, 2, 97, 98, ...list, ...struct, 0x17, 0, 0, 0, 0, 0, 0, 0, 0, 0, 99];
    expect(end(bytes)).toBe(bytes.length - 1);
    expect(end([0x05, 0x14, 2, 0])).toBe(4);
  });

  test.each([
    ["no end", [0x15, 2]],
    ["a list of 2^31", [0x19, 0xf5, 255, 255, 255, 255, 7, 0]],
    ["text of 2^31 bytes", [0x18, 255, 255, 255, 255, 7, 0]],
    ["a number of 200 kB", [0x16, ...new Array(200_000).fill(255), 0, 0]],
    ["structs in structs in structs", new Array(100_000).fill(0x1c)],
    ["lists in lists in lists", [0x19, ...new Array(100_000).fill(0x19)]],
    ["a map", [0x1b, 1, 0x55, 2, 2, 0]],
    ["an unknown type", [0x1f, 0]],
  ])("%s", (_name, bytes) => refused(() => end(bytes as number[])));
});

describe("compression", () => {
  const size = 2 ** 31 - 1;

  test("few bytes that announce two gigabytes", () => {
    const snappy = Uint8Array.of(255, 255, 255, 255, 7, 0);
    refused(() => decompress(snappy, size, "SNAPPY", "test"), "bad-file", /too few for it/);
    refused(() => decompress(Uint8Array.of(1, 2, 3), size, "UNCOMPRESSED", "test"));
    refused(() => decompress(gzipSync("short"), size, "GZIP", "test"));
    refused(() => decompress(Uint8Array.of(1, 2, 3), size, "BROTLI", "test"));
  });

  test("gzip of more than it announces stops there", () => {
    const bomb = gzipSync(Buffer.alloc(50 << 20));
    refused(() => decompress(bomb, 1000, "GZIP", "test"));
  });

  test("other compressions", () => refused(() => decompress(Uint8Array.of(1), 9, "LZO", "test"), "unsupported"));
});

describe("pages", () => {
  type Element = SchemaTree["element"];
  const root: SchemaTree = { children: [], count: 2, element: { name: "root" }, path: [] };

  function open(body: number[], header: Partial<PageHeader>, element: Partial<Element> = {}, dictionarySize = 2) {
    const leaf = {
      ...root,
      element: { name: "x", type: "INT32", repetition_type: "REQUIRED", ...element },
    } as SchemaTree;
    const metadata = { type: leaf.element.type, codec: "UNCOMPRESSED" } as ColumnMetaData;
    const column = { path: [root, leaf], metadata, dictionarySize, where: "test" };
    const sizes = { compressed_page_size: body.length, uncompressed_page_size: body.length };
    return openPage(Uint8Array.from(body), { type: "DATA_PAGE", ...sizes, ...header }, column);
  }
  function page(num_values: number, encoding: string): Partial<PageHeader> {
    const levels = { definition_level_encoding: "RLE", repetition_level_encoding: "RLE" };
    return { data_page_header: { num_values, encoding, ...levels } as PageHeader["data_page_header"] };
  }
  const many = 2 ** 31 - 1;
  const length = (bytes: number) => [bytes, 0, 0, 0];

  test("a good page passes", () => {
    expect(open([1, 0, 0, 0], page(1, "PLAIN")).bytes).toEqual(Uint8Array.of(1, 0, 0, 0));
    expect(open([1, 4, 1], page(2, "RLE_DICTIONARY")).bytes).toHaveLength(3);
    open([...length(2), 2, 1, 9, 0, 0, 0], page(1, "PLAIN"), { repetition_type: "OPTIONAL" });
  });

  test.each(["PLAIN", "BYTE_STREAM_SPLIT", "RLE_DICTIONARY", "DELTA_BINARY_PACKED", "DELTA_LENGTH_BYTE_ARRAY"])(
    "2^31 values of %s in few bytes",
    (encoding) => refused(() => open([1, 255, 255, 255, 255, 15, 0], page(many, encoding))),
  );

  test("a run of 2^31 nulls where two are announced", () => {
    const body = [...length(6), 254, 255, 255, 255, 15, 0];
    refused(() => open(body, page(2, "PLAIN"), { repetition_type: "OPTIONAL" }));
  });

  test("levels longer than the page, and levels that do not exist", () => {
    refused(() => open([255, 255, 255, 127, 2, 1], page(1, "PLAIN"), { repetition_type: "OPTIONAL" }));
    refused(() =>
      open([...length(2), 2, 3, 9, 0, 0, 0], page(1, "PLAIN"), { type: "INT32", repetition_type: "OPTIONAL" }),
    );
    refused(() => open([1, 2], page(1, "PLAIN"), { repetition_type: "OPTIONAL" }));
  });

  test("an index beyond the dictionary", () => refused(() => open([2, 4, 2], page(2, "RLE_DICTIONARY"))));

  test("a dictionary of more entries than its bytes", () => {
    const header = { num_values: many, encoding: "PLAIN" } as const;
    refused(() => open([1, 0, 0, 0], { type: "DICTIONARY_PAGE", dictionary_page_header: header }));
  });

  test("delta encoding with blocks of 2^28 parts", () => {
    refused(() => open([128, 1, 255, 255, 255, 127, 1, 0], page(1, "DELTA_BINARY_PACKED")));
    refused(() => open([128, 1, 0, 1, 0], page(1, "DELTA_BINARY_PACKED")));
  });

  test("fixed length values of negative or no length", () => {
    for (const type_length of [-4, 0, undefined]) {
      refused(() => open([1, 2, 3, 4], page(1, "PLAIN"), { type: "FIXED_LEN_BYTE_ARRAY", type_length }));
    }
  });

  test("levels beside the page in version 2", () => {
    const v2 = { num_values: 1, num_nulls: 0, num_rows: 1, encoding: "PLAIN" as const };
    for (const [repetition, definition] of [
      [9, 0],
      [0, 9],
      [-1, 3],
      [3, -1],
      [0, 2],
    ] as const) {
      const lengths = { repetition_levels_byte_length: repetition, definition_levels_byte_length: definition };
      refused(() => open([1, 0, 0, 0], { type: "DATA_PAGE_V2", data_page_header_v2: { ...v2, ...lengths } }));
    }
  });
});
