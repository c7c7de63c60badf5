import { mkdtemp, open, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { Document } from "./documents.js";
import { MAX_LINE_BYTES, readJsonLines } from "./json-lines.js";

let folder: string;
let file: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "picaso-lines-"));
  file = join(folder, "a.jsonl");
});

afterEach(async () => {
  await rm(folder, { recursive: true });
});

async function read(content: string | Uint8Array): Promise<Document[]> {
  await writeFile(file, content);
  const documents: Document[] = [];
  for await (const document of readJsonLines(file)) documents.push(document);
  return documents;
}

describe("readJsonLines", () => {
  it("reads a document a line, with or without id and title", async () => {
    const lines = [
      '{"id": "x/1 é", "text": "One\\r\\ntwo"}',
      '{"text": "Three", "title": " A title\\n", "other": {"text": 1}}',
      "",
      '  {"id": 7, "contents": "Four"}  ',
      '{"id": null, "text": 5, "passage": "Five"}',
    ];
    for (const glue of ["\n", "\r\n"]) {
      expect(await read(lines.join(glue))).toEqual([
        { source: `${file}#x/1 é`, file, text: "One\ntwo", title: undefined },
        { source: `${file}#2`, file, text: "A title\n\nThree", title: "A title" },
        { source: `${file}#7`, file, text: "Four", title: undefined },
        { source: `${file}#5`, file, text: "Five", title: undefined },
      ]);
    }
    expect(await read("")).toEqual([]);
  });

  it("takes the first of the known fields", async () => {
    for (const field of ["text", "contents", "content", "passage", "body"]) {
      expect((await read(JSON.stringify({ unknown: "no", [field]: "yes" })))[0]!.text).toBe("yes");
    }
    expect((await read('{"body": "no", "text": "yes"}'))[0]!.text).toBe("yes");
  });

  it("joins lines that are read in pieces, in every encoding", async () => {
    const long = `${"né🦊".repeat(40_000)}.`;
    const lines = `{"text": "a"}\n${JSON.stringify({ text: long })}\n{"text": "b"}\n`;
    const expected = ["a", long, "b"];
    const encodings = [
      Buffer.from(lines),
      Buffer.from(`\ufeff${lines}`),
      Buffer.from(`\ufeff${lines}`, "utf16le"),
      Buffer.from(`\ufeff${lines}`, "utf16le").swap16(),
    ];
    for (const content of encodings) expect((await read(content)).map(({ text }) => text)).toEqual(expected);
  });

  it("refuses a bad line, naming it", async () => {
    const good = '{"text": "a"}\n';
    const cases: [string, RegExp][] = [
      ['{"text": "a"', /line 3: expected a JSON object/],
      ["[1]", /line 3: .*an array/],
      ["null", /line 3/],
      ['"text"', /line 3: .*string/],
      ['{"txt": "a", "title": "b"}', /line 3: .*text, contents, content, passage, body, found .*\["txt","title"\]/],
      ['{"text": ["a"]}', /line 3: expected a string in one of/],
      ['{"text": "a", "id": {}}', /line 3, field id: expected a string or a number, found object/],
      ['{"text": "a\\u0000"}', /line 3, field text: .*NUL/],
      ['{"id": 1, "text": "a"}', /line 3: expected an id that no earlier line has, found "1"/],
    ];
    for (const [line, message] of cases) {
      const reading = read(`${good}\n${line}\n${good}`);
      await expect(reading).rejects.toThrow(message);
      await expect(reading).rejects.toMatchObject({ code: "bad-file" });
    }
    const bytes = Buffer.concat([Buffer.from(`${good}{"text": "`), Buffer.from([0xe9]), Buffer.from('"}\n')]);
    await expect(read(bytes)).rejects.toThrow(`${file}, line 2: expected UTF-8, found an invalid byte 0xe9 at byte 24`);
    await expect(read(Buffer.from([0xff, 0xfe, 0x61, 0xd8, 0x61, 0]))).rejects.toThrow(/valid UTF-16LE/);
  });

  it("gives the documents before a bad line", async () => {
    await writeFile(file, '{"text": "a"}\n{');
    const documents = readJsonLines(file);
    expect((await documents.next()).value).toMatchObject({ text: "a" });
    await expect(documents.next()).rejects.toMatchObject({ code: "bad-file" });
  });

  it("replaces halves of surrogate pairs, which no file could hold", async () => {
    expect((await read('{"text": "a\\ud83eb", "id": "\\udd8a"}'))[0]).toMatchObject({
      source: `${file}#\ufffd`,
      text: "a\ufffdb",
    });
  });

  it("holds neither the file nor an endless line in memory", async () => {
    const handle = await open(file, "w");
    await handle.truncate(MAX_LINE_BYTES * 40);
    await handle.close();
    const before = process.memoryUsage().rss;
    const reading = (async () => {
      for await (const _ of readJsonLines(file));
    })();
    await expect(reading).rejects.toThrow(/the line at byte 0: expected at most 67108864 bytes a line/);
    expect(process.memoryUsage().rss - before).toBeLessThan(4 * MAX_LINE_BYTES);
  });

  it("can be left early", async () => {
    await writeFile(file, '{"text": "a"}\n'.repeat(100_000));
    for await (const { text } of readJsonLines(file)) {
      expect(text).toBe("a");
      break;
    }
    // The file was closed: on some systems it could not be removed otherwise.
    await rm(file);
  });
});
