import { execFileSync } from "node:child_process";
import { mkdtemp, open, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { type Document, MAX_MARKUP_BYTES, MAX_TEXT_BYTES, readDocuments } from "./documents.js";
import { documentFormat } from "./find-files.js";

let folder: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "picaso-documents-"));
});

afterEach(async () => {
  await rm(folder, { recursive: true });
});

async function read(name: string, content: string | Uint8Array): Promise<Document[]> {
  const path = join(folder, name);
  await writeFile(path, content);
  return readPath(path);
}

async function readPath(path: string): Promise<Document[]> {
  const documents: Document[] = [];
  for await (const document of readDocuments({ path, format: documentFormat(path)! })) documents.push(document);
  return documents;
}

async function textOf(name: string, content: string | Uint8Array): Promise<string> {
  return (await read(name, content))[0]!.text;
}

const utf16be = (text: string): Uint8Array => Buffer.from(text, "utf16le").swap16();

describe("text files", () => {
  it("are read as they are, but for line ends", async () => {
    const [document] = await read("a.txt", "One\r\ntwo\rthree\n\n  four é🦊");
    const file = join(folder, "a.txt");
    expect(document).toEqual({ source: file, file, text: "One\ntwo\nthree\n\n  four é🦊" });
    expect(await textOf("empty.txt", "")).toBe("");
  });

  it("may begin with a byte order mark, in UTF-16 too", async () => {
    expect(await textOf("a.txt", "\ufeffné🦊")).toBe("né🦊");
    expect(await textOf("a.txt", Buffer.from("\ufeffné🦊\r\n", "utf16le"))).toBe("né🦊\n");
    expect(await textOf("a.txt", utf16be("\ufeffné🦊"))).toBe("né🦊");
    // A second one is a character of the text.
    expect(await textOf("a.txt", "\ufeff\ufeffx")).toBe("\ufeffx");
  });

  it("that are no UTF-8 are refused, naming the byte", async () => {
    const cases: [number[], number][] = [
      [[0x41, 0xe9, 0x42], 1],
      [[0x41, 0xc3, 0xa9, 0xff], 3],
      [[0xe2, 0x82], 0],
      [[0x41, 0x80, 0x80], 1],
      [[0x41, 0xc3, 0xa9, 0xc3, 0x41], 3],
      [[0xf0, 0x9f, 0xa6, 0x8a, 0xed, 0xa0, 0x80], 4],
      [[0xef, 0xbb, 0xbf, 0x41, 0xc0, 0x80], 4],
      [[...Buffer.from("né".repeat(5000)), 0xf8, ...Buffer.from("né".repeat(777))], 15_000],
    ];
    for (const [bytes, at] of cases) {
      const error = { code: "bad-file", details: { where: join(folder, "a.txt"), found: expect.anything() } };
      const reading = read("a.txt", Uint8Array.from(bytes));
      await expect(reading).rejects.toMatchObject(error);
      await expect(reading).rejects.toThrow(new RegExp(`expected UTF-8, found an invalid byte 0x.. at byte ${at}\\.`));
    }
    const half = Buffer.from("\ufeffab\ud83e", "utf16le");
    await expect(read("a.txt", half)).rejects.toThrow(/valid UTF-16LE/);
  });

  it("that are binary are refused", async () => {
    await expect(read("a.txt", "PK\u0003\u0004\0\0")).rejects.toThrow(/expected text, found a NUL byte at byte 4/);
    await expect(read("a.md", "abc\0")).rejects.toMatchObject({ code: "bad-file" });
    await expect(read("a.html", Buffer.from("\ufeff<p>a\0b", "utf16le"))).rejects.toThrow(/NUL character at byte 10/);
  });

  it("that are too long are refused before they are read", async () => {
    for (const [name, limit] of [["a.txt", MAX_TEXT_BYTES] as const, ["a.md", MAX_MARKUP_BYTES] as const]) {
      const path = join(folder, name);
      const handle = await open(path, "w");
      await handle.truncate(limit + 1);
      await handle.close();
      await expect(readPath(path)).rejects.toThrow(`expected at most ${limit} bytes, found ${limit + 1}`);
    }
  });

  it("have to be files", async () => {
    await expect(readPath(join(folder, "absent.txt"))).rejects.toMatchObject({ code: "not-found" });
    const pipe = join(folder, "pipe.txt");
    execFileSync("mkfifo", [pipe]);
    await expect(readPath(pipe)).rejects.toMatchObject({ code: "unsupported" });
  });
});

describe("HTML", () => {
  it("gives the text that a reader of the page reads", async () => {
    const html = `<!doctype html><html><head><title>Title</title><style>p { color: red }</style></head><body>
      <h1>The <a href="https://example.org/x">river</a></h1>
      <script>alert("no")</script><noscript>no</noscript><!-- no -->
      <p>Water &amp; ice,
         5&nbsp;&lt; 6 caf&eacute; &#x1F98A;<img src="a.png" alt="no"></p>
      <ul><li>one</li><li>two <b>bold</b></li></ul><ol><li>first<li>second</ol>
      <table><tr><th>Year</th><th>Level</th></tr><tr><td>1999</td><td>7 m</td></tr></table>
      <svg><text>no</text></svg><hr><pre>  code
    more</pre>line<br>break<select><option>no</select></body></html>`;
    expect(await textOf("a.html", html)).toBe(
      [
        "The river",
        "Water & ice, 5 < 6 café 🦊",
        "- one\n- two bold",
        "1. first\n2. second",
        "Year | Level\n1999 | 7 m",
        "  code\n    more",
        "line\nbreak",
      ].join("\n\n"),
    );
  });

  it("of any form comes to an end", async () => {
    expect(await textOf("a.htm", "<p>unclosed <b>and &bogus; <<x> </")).toContain("unclosed and &bogus;");
    expect(await textOf("a.html", "")).toBe("");
    expect(await textOf("a.html", "<html><head><title>no</title><p>No end of head")).toBe("No end of head");
    // Longer than the converter would take by itself.
    const long = "A paragraph of words. ".repeat(800_000).trim();
    expect((await textOf("a.html", `<p>${long}</p>`)) === long).toBe(true);
  }, 120_000);

  it("keeps its text however deep its elements are nested", async () => {
    const nested = (depth: number, tag = "div"): string => `${`<${tag}>`.repeat(depth)}x${`</${tag}>`.repeat(depth)}y`;
    const start = performance.now();
    for (const html of [
      nested(200),
      nested(260),
      nested(500_000),
      "<b>".repeat(1_000_000),
      nested(3, "svg><p></svg"),
    ]) {
      const text = await textOf("a.html", html);
      expect(text.replace(/\s/g, "")).toBe(html.replace(/<[^>]*>/g, ""));
    }
    const words = Array.from({ length: 3000 }, (_, i) => `<word${i}><ul><li><table><tr><td>w${i}`);
    const text = await textOf("a.html", words.join(" "));
    expect(text.match(/w\d+/g)).toEqual(words.map((_, i) => `w${i}`));
    expect(performance.now() - start).toBeLessThan(20_000);
  }, 60_000);
});

describe("Markdown", () => {
  it("gives its text without marks and front matter", async () => {
    const markdown = `---\ntitle: "A: b"\ntags:\n  - x\n---\n# The *river*\n\nWater [and ice](https://example.org "no"),
wrapped.\n\n![no](a.png)\n\n- one\n- two\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n    code < 1\n\n> said &amp; done\n\n<b>html</b>\n`;
    expect(await textOf("a.md", markdown)).toBe(
      [
        "The river",
        "Water and ice, wrapped.",
        "- one\n- two",
        "a | b\n1 | 2",
        "code < 1",
        "> said & done",
        "html",
      ].join("\n\n"),
    );
    expect(await textOf("a.md", "+++\ntitle = 'x'\n[a]\n+++\nText\r\n")).toBe("Text");
  });

  it("keeps what only looks like front matter", async () => {
    expect(await textOf("a.md", "---\nProse between rules.\n---\nText")).toContain("Prose between rules.");
    expect(await textOf("a.md", "---\nkey: value\nText")).toContain("key: value");
  });

  it("of any form comes to an end", async () => {
    const start = performance.now();
    for (const part of ["[", "*a ", "**a", "`a", "<", "![", "_a*", "|a"]) {
      const [document] = await read("a.md", part.repeat(6000));
      expect(document!.text.length).toBeGreaterThan(5900);
    }
    await expect(read("a.md", ">".repeat(20_000))).rejects.toMatchObject({ code: "bad-file" });
    expect(performance.now() - start).toBeLessThan(30_000);
  }, 60_000);
});
