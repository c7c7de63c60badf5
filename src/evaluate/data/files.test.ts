import { execFileSync } from "node:child_process";
import { dirname, join } from "node:path";
import { describe, expect, it } from "vitest";
import { firstCharacter, readJson, readJsonLines, readText } from "./files.js";
import { temporaryFiles } from "./test-files.js";

const write = temporaryFiles();

describe("readText", () => {
  it("reads UTF-8 and drops a byte order mark", async () => {
    expect(await readText(write("mark.txt", "\ufeffé–𝕏\n"))).toBe("é–𝕏\n");
  });

  it("names a missing file, a directory, and bytes that are no UTF-8", async () => {
    const latin = write("latin.txt", Uint8Array.of(0x63, 0x61, 0x66, 0xe9, 0x20));
    await expect(readText(join(dirname(latin), "none.txt"))).rejects.toMatchObject({ code: "not-found" });
    await expect(readText(dirname(latin))).rejects.toThrow(/expected a file, found a directory/);
    await expect(readText(latin)).rejects.toThrow(/latin\.txt: expected UTF-8/);
  });

  it.skipIf(process.platform === "win32")("does not wait for a pipe", async () => {
    const pipe = join(dirname(write("beside.txt", "")), "pipe");
    execFileSync("mkfifo", [pipe]);
    await expect(readText(pipe)).rejects.toThrow(/expected a file/);
    await expect(readJsonLines(pipe)).rejects.toThrow(/expected a file/);
  });
});

describe("readJson", () => {
  it("names a file that is not JSON", async () => {
    await expect(readJson(write("cut.json", '[{"a": 1}, {"b"'))).rejects.toThrow(
      /cut\.json: expected JSON, found text/,
    );
    await expect(readJson(write("empty.json", " \n"))).rejects.toThrow(/expected JSON, found nothing/);
  });
});

describe("readJsonLines", () => {
  it("reads rows with their line numbers, over blank lines, any line end, and without a last line end", async () => {
    const path = write("rows.jsonl", '\ufeff{"a": 1}\r\n\n  \n{"a": "é𝕏"}\n[3]');
    expect(await readJsonLines(path)).toEqual([
      { value: { a: 1 }, line: 1 },
      { value: { a: "é𝕏" }, line: 4 },
      { value: [3], line: 5 },
    ]);
    expect(await readJsonLines(write("none.jsonl", ""))).toEqual([]);
  });

  it("joins rows and characters that lie across two reads", async () => {
    const long = "ab€𝕏".repeat(100_000);
    const rows = await readJsonLines(write("long.jsonl", `${JSON.stringify(long)}\n1\n${JSON.stringify(long)}\n`));
    expect(rows.map((row) => row.value)).toEqual([long, 1, long]);
  });

  it("stops at the limit, before a bad row that follows, and names the bad row without one", async () => {
    const path = write("bad.jsonl", `1\n2\n{"cut\n${"4\n".repeat(500_000)}`);
    expect((await readJsonLines(path, 2)).map((row) => row.value)).toEqual([1, 2]);
    expect(await readJsonLines(path, 0)).toEqual([]);
    await expect(readJsonLines(path)).rejects.toThrow(/bad\.jsonl, line 3: expected JSON/);
  });

  it("names a file that ends within a character", async () => {
    const path = write("half.jsonl", Uint8Array.of(0x31, 0x0a, 0x22, 0xe2, 0x82));
    await expect(readJsonLines(path)).rejects.toThrow(/half\.jsonl: expected UTF-8/);
  });
});

describe("firstCharacter", () => {
  it("skips whitespace and a byte order mark", async () => {
    expect(await firstCharacter(write("list.json", "\ufeff \n [1]"))).toBe("[");
    expect(await firstCharacter(write("nothing.json", "\n"))).toBe("");
  });
});
