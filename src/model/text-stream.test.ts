import { writeFile } from "node:fs/promises";
import { beforeAll, describe, expect, test } from "vitest";
import { useScratch } from "../../test/support/scratch.js";
import { byteToken, tinyTokenizer } from "../../test/support/tiny-tokenizer.js";
import { bundledModel } from "./bundled.js";
import { TextStream } from "./text-stream.js";
import { Tokenizer } from "./tokenizer.js";

const scratch = useScratch();
let bundled: Tokenizer;
/** One token a byte. */
let bytewise: Tokenizer;
beforeAll(async () => {
  bundled = await Tokenizer.load(`${bundledModel}/tokenizer.json`, 16_000);
  await writeFile(scratch.path("tokenizer.json"), tinyTokenizer(259));
  bytewise = await Tokenizer.load(scratch.path("tokenizer.json"), 259);
});

function pieces(tokenizer: Tokenizer, ids: readonly number[], stop: string[] = []): string[] {
  const stream = new TextStream((part) => tokenizer.decode(part), stop);
  const list = ids.map((id) => stream.push(id));
  return [...list, stream.end()];
}

const byteTokens = (...bytes: number[]) => bytes.map(byteToken);

const texts: [name: string, text: string][] = [
  ["plain", "The Eiffel Tower was completed in 1889."],
  ["accents", "Ångström, naïve façade, Dvořák, Łódź"],
  ["combining marks", "e\u0301 n\u0303 q\u0307\u0323 \u0301alone"],
  ["Chinese and Japanese", "東京は日本の首都です。紫禁城建于明朝。"],
  ["emoji", "a 😀 b 👍🏽👨‍👩‍👧‍👦🇫🇷 end"],
  ["emoji only", "😀😀😀😀"],
  ["other scripts", "Привет, שלום, مرحبا, नमस्ते, 𝕏 𐍈"],
  ["a byte order mark", "\uFEFFtext\uFEFF"],
  ["a replacement character of its own", "what \uFFFD is"],
  ["line breaks and spaces", " \n\n  x\t\t\r\n "],
];

describe("texts", () => {
  test.each(texts)("%s", (_, text) => {
    for (const tokenizer of [bundled, bytewise]) {
      const ids = tokenizer.encode(text);
      const list = pieces(tokenizer, ids);
      expect(list.join("")).toBe(text);
      if (!text.includes("\uFFFD")) expect(list.join("|")).not.toContain("\uFFFD");
      for (const piece of list) expect(piece).not.toMatch(/\p{Surrogate}/u);
    }
  });

  test("come out as soon as they are certain", () => {
    const ids = bytewise.encode("aé😀b");
    expect(pieces(bytewise, ids)).toEqual(["a", "", "é", "", "", "", "😀", "b", ""]);
  });

  test("of one token a character keep none back", () => {
    const ids = bundled.encode("The tower is tall.");
    expect(pieces(bundled, ids).slice(0, -1)).toEqual(ids.map((id) => bundled.decode([id])));
  });
});

describe("bytes that are no text", () => {
  test.each<[name: string, ids: number[], expected: string[]]>([
    ["a lone continuation", byteTokens(0x61, 0x80, 0x62), ["a", "", "\uFFFDb", ""]],
    ["an incomplete character at the end", byteTokens(0x61, 0xe2, 0x82), ["a", "", "", "\uFFFD"]],
    ["an incomplete character before a letter", byteTokens(0xf0, 0x9f, 0x61), ["", "", "\uFFFDa", ""]],
    [
      "broken bytes before an emoji",
      byteTokens(0x80, 0x80, 0x80, 0xf0, 0x9f, 0x98, 0x80),
      ["", "\uFFFD", "\uFFFD", "\uFFFD", "", "", "😀", ""],
    ],
    [
      "special tokens within a character",
      [...byteTokens(0xf0), 1, 1, 1, 1, ...byteTokens(0x9f, 0x98, 0x80)],
      ["", "", "", "", "", "", "", "😀", ""],
    ],
  ])("%s", (_, ids, expected) => {
    expect(pieces(bytewise, ids)).toEqual(expected);
    expect(expected.join("")).toBe(bytewise.decode(ids));
  });

  test("random bytes give the text of the whole, whatever they are", () => {
    let seed = 1;
    const random = (below: number) => {
      seed = (Math.imul(seed, 1103515245) + 12345) >>> 0;
      return Math.floor((seed / 2 ** 32) * below);
    };
    // Mostly what UTF-8 is made of, so that sequences often begin and rarely end.
    const starts = [0x41, 0x80, 0xbf, 0xc3, 0xe2, 0xe0, 0xed, 0xf0, 0xf4, 0xff, 0x9f, 0xa0];
    for (let round = 0; round < 300; round++) {
      const ids = Array.from({ length: 1 + random(40) }, () => {
        if (random(12) === 0) return random(3);
        return byteToken(random(4) === 0 ? random(256) : starts[random(starts.length)]!);
      });
      expect(pieces(bytewise, ids).join(""), `${ids}`).toBe(bytewise.decode(ids));
    }
  });

  test("random tokens of a real vocabulary, too", () => {
    for (let start = 0; start < 16_000; start += 400) {
      const ids = Array.from({ length: 400 }, (_, i) => (start * 7919 + i * 6151) % 16_000);
      expect(pieces(bundled, ids).join("")).toBe(bundled.decode(ids));
    }
  });
});

describe("stop texts", () => {
  const until = (text: string, stop: string[]) => {
    const stream = new TextStream((part) => bytewise.decode(part), stop);
    const list: string[] = [];
    for (const id of bytewise.encode(text)) {
      list.push(stream.push(id));
      if (stream.stopped) break;
    }
    return { list, text: list.join("") + stream.end(), stopped: stream.stopped };
  };

  test("end the text, and are not part of it", () => {
    expect(until("one\ntwo", ["\n"])).toMatchObject({ text: "one", stopped: true });
  });

  test("are held back while they may still come, over many tokens", () => {
    const { list, text, stopped } = until("a </en> b </end> c", ["</end>"]);
    expect(text).toBe("a </en> b ");
    expect(stopped).toBe(true);
    expect(list.slice(0, 8)).toEqual(["a", " ", "", "", "", "", "</en>", " "]);
  });

  test("that have not come whole are text", () => {
    expect(until("a </en", ["</end>"])).toEqual({ list: ["a", " ", "", "", "", ""], text: "a </en", stopped: false });
  });

  test("may overlap themselves", () => {
    expect(until("xaab", ["ab"])).toMatchObject({ text: "xa", stopped: true });
    expect(until("aaab", ["aab"])).toMatchObject({ text: "a", stopped: true });
  });

  test("of several the first in the text counts", () => {
    expect(until("one, two. three", [".", ", t"])).toMatchObject({ text: "one", stopped: true });
  });

  test("may be characters of several tokens", () => {
    expect(until("a😁b😀c", ["😀"])).toMatchObject({ text: "a😁b", stopped: true });
  });

  test("found within one token leave what stands before it", () => {
    const stream = new TextStream((part) => bundled.decode(part), ["ow"]);
    const given =
      bundled
        .encode(" tower")
        .map((id) => stream.push(id))
        .join("") + stream.end();
    expect(given).toBe(" t");
  });

  test("let nothing follow", () => {
    const stream = new TextStream((part) => bytewise.decode(part), ["\n"]);
    expect(stream.push(byteToken(10))).toBe("");
    expect(stream.push(byteToken(65))).toBe("");
    expect(stream.end()).toBe("");
  });
});
