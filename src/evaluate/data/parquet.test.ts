import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import zlib from "node:zlib";
import { describe, expect, test } from "vitest";
import { PicasoError } from "../../errors.js";
import type { RandomAccess } from "../../model/checkpoint/random-access.js";
import { parseMsMarco } from "./msmarco.js";
import { type ParquetOptions, parquetRows, readParquet, rowsOf } from "./parquet.js";
import { temporaryFiles } from "./test-files.js";

const folder = fileURLToPath(new URL("../../../test/fixtures/parquet", import.meta.url));
const write = temporaryFiles();

function fixture(name: string): string {
  return join(folder, `${name}.parquet`);
}

/** The rows that pyarrow read, with the values that JSON has no form for. */
function expectedRows(name: string): Record<string, unknown>[] {
  return JSON.parse(readFileSync(join(folder, `${name}.json`), "utf8"), (_key, value) => {
    if (typeof value?.$bigint === "string") return BigInt(value.$bigint);
    return Array.isArray(value?.$bytes) ? Uint8Array.from(value.$bytes) : value;
  });
}

interface MemoryFile extends RandomAccess {
  /** What was read, [start, end). */
  reads: [number, number][];
}

function inMemory(bytes: Uint8Array): MemoryFile {
  const reads: [number, number][] = [];
  return {
    byteLength: bytes.length,
    reads,
    read: async (start, end) => {
      reads.push([start, end]);
      return bytes.slice(start, end);
    },
    close: async () => {},
  };
}

async function rowsFrom(bytes: Uint8Array): Promise<unknown[]> {
  const file = inMemory(bytes);
  const collect = async () => {
    const rows: unknown[] = [];
    for await (const row of rowsOf(file, "test", {})) rows.push(row);
    return rows;
  };
  const [result] = await Promise.allSettled([collect()]);
  for (const [start, end] of file.reads) {
    if (!(start >= 0 && start <= end && end <= bytes.length)) throw new Error(`read of bytes ${start} to ${end}`);
  }
  if (result.status === "rejected") throw result.reason;
  return result.value;
}

async function failure(promise: Promise<unknown>): Promise<PicasoError> {
  const error = await promise.then(
    () => expect.fail("no error was thrown"),
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(PicasoError);
  return error as PicasoError;
}

describe("the rows are those that pyarrow reads", () => {
  const variants = { "flat-v2": "flat", "nested-v2": "nested", "encodings-v2": "encodings" };
  const groups = { "groups-v2": "groups", "groups-plain": "groups" };
  const rowsOfVariant: Record<string, string> = { ...variants, ...groups };
  const names = ["flat", "required", "nested", "groups", "marco", "encodings", "letters", "empty"];
  test.each([...names, ...Object.keys(rowsOfVariant)])("%s", async (name) => {
    expect(await readParquet(fixture(name))).toEqual(expectedRows(rowsOfVariant[name] ?? name));
  });

  test("every file of the folder is tested", () => {
    const tested = [...names, ...Object.keys(rowsOfVariant), "zstd", "lz4", "delta-byte-array"];
    const present = readdirSync(folder).filter((name) => name.endsWith(".parquet"));
    expect(present.sort()).toEqual(tested.map((name) => `${name}.parquet`).sort());
  });

  test("zstd, where Node has it", async () => {
    if ("zstdDecompressSync" in zlib) expect(await readParquet(fixture("zstd"))).toEqual(expectedRows("letters"));
    else expect((await failure(readParquet(fixture("zstd")))).message).toMatch(/ZSTD.*22\.15/);
  });

  test("passages of MS MARCO come out as its reader wants them", async () => {
    const rows = parseMsMarco(await readParquet(fixture("groups")), "groups");
    expect(rows).toHaveLength(12);
    expect(rows[3]).toMatchObject({ id: "1102435", query: "what is 3", type: "description", answers: ["Answer 3."] });
    expect(rows[3]!.passages.map(({ selected }) => selected)).toEqual([false, false, true]);
    expect(rows[3]!.passages[2]!.text).toBe("Passage 2 for question 3: mitosis, naïve, 東京.");
  });
});

describe("only what is asked for is read", () => {
  const bytes = readFileSync(fixture("groups"));

  test("columns", async () => {
    const rows = await readParquet(fixture("groups"), { columns: ["query", "query_id"] });
    expect(rows).toEqual(expectedRows("groups").map(({ query, query_id }) => ({ query, query_id })));
    const error = await failure(readParquet(fixture("groups"), { columns: ["question"] }));
    expect(error.code).toBe("not-found");
    expect(error.message).toMatch(/question.*answers, passages, query/s);
  });

  test("the row groups of the first rows", async () => {
    expect(await readParquet(fixture("groups"), { limit: 6 })).toEqual(expectedRows("groups").slice(0, 6));
    expect(await readParquet(fixture("groups"), { limit: 0 })).toEqual([]);
    const bytesRead = async (options: ParquetOptions) => {
      const file = inMemory(bytes);
      for await (const _ of rowsOf(file, "test", options));
      return file.reads.reduce((sum, [start, end]) => sum + end - start, 0);
    };
    const [all, first, narrow] = [
      await bytesRead({}),
      await bytesRead({ limit: 5 }),
      await bytesRead({ columns: ["query"] }),
    ];
    expect(all).toBeLessThanOrEqual(bytes.length + 8);
    expect(first).toBeLessThan(0.8 * all);
    expect(narrow).toBeLessThan(0.8 * all);
    // No read takes more than one column of one row group, or the footer.
    const file = inMemory(bytes);
    await file.read(0, 0);
    for await (const _ of rowsOf(file, "test", {}));
    expect(Math.max(...file.reads.map(([start, end]) => end - start))).toBeLessThan(bytes.length / 2);
  });

  test("a caller that stops early closes the file", async () => {
    for await (const row of parquetRows(fixture("groups"))) {
      expect(row).toEqual(expectedRows("groups")[0]);
      break;
    }
  });

  test("the signal stops it", async () => {
    expect((await failure(readParquet(fixture("groups"), { signal: AbortSignal.abort() }))).code).toBe("aborted");
  });
});

describe("files that cannot be read", () => {
  test.each([
    ["lz4", /LZ4/],
    ["delta-byte-array", /DELTA_BYTE_ARRAY/],
  ])("%s is not supported", async (name, message) => {
    const error = await failure(readParquet(fixture(name)));
    expect(error.code).toBe("unsupported");
    expect(error.message).toMatch(message);
  });

  test("no such file, a folder, and files that are not Parquet", async () => {
    expect((await failure(readParquet("no/such/file.parquet"))).code).toBe("not-found");
    expect((await failure(readParquet(folder))).code).toBe("bad-file");
    expect((await failure(readParquet(write("empty", "")))).code).toBe("bad-file");
    expect((await failure(readParquet(write("text", "Not a Parquet file at all.")))).message).toMatch(/PAR1/);
    expect((await failure(readParquet(write("secret", "PARE00000000PARE")))).code).toBe("unsupported");
    const html = write("longer", `PAR1${"x".repeat(100)}\xff\xff\xff\x7fPAR1`);
    expect((await failure(readParquet(html))).code).toBe("bad-file");
  });
});

describe("damaged files", () => {
  const names = ["letters", "marco", "nested-v2", "encodings", "required"];

  test.each(names)("%s, cut off anywhere", async (name) => {
    const bytes = readFileSync(fixture(name));
    for (let length = 0; length < bytes.length; length += 7) {
      expect((await failure(rowsFrom(bytes.subarray(0, length)))).code).toBe("bad-file");
    }
  });

  test.each(names)("%s, with any byte changed: the rows or an error of ours, soon", async (name) => {
    const bytes = readFileSync(fixture(name));
    let errors = 0;
    let slowest = 0;
    for (let at = 0; at < bytes.length; at++) {
      const changed = Uint8Array.from(bytes);
      changed[at]! ^= [0xff, 0x80, 0x01][at % 3]!;
      const started = performance.now();
      try {
        expect((await rowsFrom(changed)).length).toBeLessThan(1000);
      } catch (error) {
        if (!(error instanceof PicasoError)) throw new Error(`byte ${at}`, { cause: error });
        expect(["bad-file", "unsupported"]).toContain(error.code);
        errors++;
      }
      slowest = Math.max(slowest, performance.now() - started);
    }
    expect(errors).toBeGreaterThan(bytes.length / 4);
    expect(slowest).toBeLessThan(2000);
  });
});
