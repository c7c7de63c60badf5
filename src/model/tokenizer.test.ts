import { writeFile } from "node:fs/promises";
import { beforeAll, describe, expect, test } from "vitest";
import { useScratch } from "../../test/support/scratch.js";
import { byteToken, tinyTokenizer } from "../../test/support/tiny-tokenizer.js";
import { bundledModel } from "./bundled.js";
import { Tokenizer } from "./tokenizer.js";

const scratch = useScratch();
let tiny: Tokenizer;
let bundled: Tokenizer;
beforeAll(async () => {
  await writeFile(scratch.path("tokenizer.json"), tinyTokenizer(288));
  tiny = await Tokenizer.load(scratch.path("tokenizer.json"), 288);
  bundled = await Tokenizer.load(`${bundledModel}/tokenizer.json`, 16_000);
});

describe("encode", () => {
  test("gives the ids of a vocabulary written by hand", () => {
    const [space, the] = [byteToken(0x20), 260];
    expect(tiny.encode("the a")).toEqual([the, 268]);
    expect(tiny.encode("é")).toEqual([byteToken(0xc3), byteToken(0xa9)]);
    expect(tiny.encode("  x")).toEqual([space, space, byteToken(0x78)]);
  });

  test("gives none for no text, and adds no special tokens", () => {
    expect(tiny.encode("")).toEqual([]);
    expect(bundled.encode("x")).toHaveLength(1);
  });

  test("gives special tokens where the text has them", () => {
    expect(tiny.encode("<|end|>")).toEqual([2]);
  });
});

describe("decode", () => {
  test.each(["The tower, 1889.", " spaces  kept ", "日本 😀", "\n\n"])("gives the text back: %j", (text) => {
    for (const tokenizer of [tiny, bundled]) expect(tokenizer.decode(tokenizer.encode(text))).toBe(text);
  });

  test("leaves special tokens out, and ids that have no token", () => {
    expect(tiny.decode([0, byteToken(0x61), 1, byteToken(0x62), 2])).toBe("ab");
    expect(tiny.decode([byteToken(0x61), 287, byteToken(0x62)])).toBe("ab");
  });

  test("keeps spaces before punctuation", () => {
    expect(bundled.decode(bundled.encode("do n't , you ?"))).toBe("do n't , you ?");
  });

  test("gives no text for no ids", () => {
    expect(tiny.decode([])).toBe("");
  });
});

test("a vocabulary smaller than the model's is fine, a larger one is not", async () => {
  await expect(Tokenizer.load(scratch.path("tokenizer.json"), 5000)).resolves.toBeDefined();
  await expect(Tokenizer.load(scratch.path("tokenizer.json"), 271)).rejects.toMatchObject({ code: "bad-file" });
});

describe("special tokens around a text", () => {
  const template = [
    { SpecialToken: { id: "<|begin|>", type_id: 0 } },
    { Sequence: { id: "A", type_id: 0 } },
    { SpecialToken: { id: "<|end|>", type_id: 0 } },
    { SpecialToken: { id: "<|padding|>", type_id: 0 } },
  ];
  const tokens = Object.fromEntries(
    ["<|begin|>", "<|padding|>", "<|end|>"].map((id, number) => [id, { id, ids: [number], tokens: [id] }]),
  );

  test.each([
    ["none", null, [], []],
    ["a template", { type: "TemplateProcessing", single: template, pair: [], special_tokens: tokens }, [0], [2, 1]],
    ["BERT's", { type: "BertProcessing", sep: ["<|end|>", 2], cls: ["<|begin|>", 0] }, [0], [2]],
    [
      "RoBERTa's",
      { type: "RobertaProcessing", sep: ["<|end|>", 2], cls: ["<|begin|>", 0], add_prefix_space: true },
      [0],
      [2],
    ],
  ])("%s", async (_, processor, before, after) => {
    const file = { ...JSON.parse(tinyTokenizer(288)), post_processor: processor };
    await writeFile(scratch.path("framed.json"), JSON.stringify(file));
    const tokenizer = await Tokenizer.load(scratch.path("framed.json"), 288);
    expect(tokenizer.frame()).toEqual({ before, after });
    expect(tokenizer.encode("the a")).toEqual(tiny.encode("the a"));
  });
});

test("a unigram model's ids are places in its list", async () => {
  const vocab = [
    ["<unk>", 0],
    ["▁", -3],
    ["▁the", -1],
    ["▁to", -2],
    ["wer", -2],
    ["w", -4],
  ];
  const file = {
    ...JSON.parse(tinyTokenizer(288)),
    ...{ added_tokens: [], decoder: null },
    pre_tokenizer: { type: "Metaspace", replacement: "▁", prepend_scheme: "always", split: true },
    model: { type: "Unigram", unk_id: 0, vocab },
  };
  await writeFile(scratch.path("unigram.json"), JSON.stringify(file));
  expect((await Tokenizer.load(scratch.path("unigram.json"), 6)).encode("the tower")).toEqual([2, 3, 4]);
  await expect(Tokenizer.load(scratch.path("unigram.json"), 5)).rejects.toThrow(/id 5/);
});
