import { Tokenizer } from "@huggingface/tokenizers";
import { describe, expect, it } from "vitest";
import { type Passage, type SplitOptions, splitPassages } from "./passages.js";

type TextTokenizer = SplitOptions["tokenizer"];

/** One token a word or punctuation mark: joining texts adds up their tokens. */
const wordTokenizer: TextTokenizer = { encode: (text) => (text.match(/\w+|[^\s\w]/g) ?? []).map((_, i) => i) };

/** Tokens of four characters, across all borders: joined texts have fewer tokens than their parts. */
const blockTokenizer: TextTokenizer = { encode: (text) => new Array(Math.ceil(text.length / 4)).fill(0) };

/** Joined texts have more tokens than their parts: whitespace is dear, but not at the ends. */
const dearSpaceTokenizer: TextTokenizer = {
  encode: (text) => {
    const inner = text.trim();
    return new Array(inner.replace(/\s/g, "").length + 5 * (inner.match(/\s+/g) ?? []).length).fill(0);
  },
};

/** Puts two tokens of its own around every text. */
const framingTokenizer: TextTokenizer = { encode: (text) => [1, ...wordTokenizer.encode(text), 2] };

/** A byte-level BPE tokenizer, as language models have, with the commonest pairs of a sample as merges. */
function bytePairTokenizer(sample: string, mergeCount: number): TextTokenizer {
  const printable = [...Array(256).keys()].filter((b) => (b > 32 && b < 127) || (b > 160 && b !== 173));
  const others = [...Array(256).keys()].filter((b) => !printable.includes(b));
  const letters = new Map([
    ...printable.map((byte) => [byte, String.fromCharCode(byte)] as const),
    ...others.map((byte, i) => [byte, String.fromCharCode(256 + i)] as const),
  ]);
  let words = (sample.match(/ ?\S+|\s+/g) ?? []).map((word) =>
    [...Buffer.from(word)].map((byte) => letters.get(byte)!),
  );
  const merges: [string, string][] = [];
  while (merges.length < mergeCount) {
    const counts = new Map<string, number>();
    for (const word of words) {
      for (let i = 0; i + 1 < word.length; i++) {
        const pair = `${word[i]}\n${word[i + 1]}`;
        counts.set(pair, (counts.get(pair) ?? 0) + 1);
      }
    }
    const best = [...counts].sort((a, b) => b[1] - a[1] || (a[0] < b[0] ? -1 : 1))[0];
    if (best === undefined) break;
    const [left, right] = best[0].split("\n") as [string, string];
    merges.push([left, right]);
    words = words.map((word) => {
      const merged: string[] = [];
      for (const letter of word) {
        if (letter === right && merged.at(-1) === left) merged[merged.length - 1] = left + right;
        else merged.push(letter);
      }
      return merged;
    });
  }
  const vocab = [...letters.values(), ...merges.map(([left, right]) => left + right)];
  const tokenizer = new Tokenizer(
    {
      added_tokens: [],
      normalizer: null,
      pre_tokenizer: { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: true },
      post_processor: null,
      decoder: { type: "ByteLevel", add_prefix_space: true, trim_offsets: true, use_regex: true },
      model: { type: "BPE", vocab: Object.fromEntries(vocab.map((token, i) => [token, i])), merges },
    },
    {},
  );
  return { encode: (text) => (text === "" ? [] : tokenizer.encode(text, { add_special_tokens: false }).ids) };
}

const sample =
  "The river rose in the night. By morning, the lower fields were under water; nobody had seen it coming. ";

const tokenizers: Record<string, TextTokenizer> = {
  words: wordTokenizer,
  blocks: blockTokenizer,
  "dear spaces": dearSpaceTokenizer,
  framing: framingTokenizer,
  "byte-level BPE": bytePairTokenizer(sample.repeat(3), 120),
};

/** Numbers from 0 up to 1 that depend on the seed alone. */
function randomNumbers(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}

/** Text of all kinds: prose, headings, lists, code, long words, other scripts, emoji, odd whitespace. */
function randomText(seed: number): string {
  const random = randomNumbers(seed);
  const pick = <T>(items: readonly T[]): T => items[Math.floor(random() * items.length)]!;
  const many = (most: number, make: () => string, glue: string): string =>
    Array.from({ length: 1 + Math.floor(random() * most) }, make).join(glue);
  const word = (): string => pick(["river", "a", "water's", "3.14", "naïve", "U.S.", "state-space", "e\u0301te\u0301"]);
  const sentence = (): string => many(25, word, " ") + pick([".", "!", "?", "…", '."']);
  const block: (() => string)[] = [
    () => many(8, sentence, pick([" ", "\n", "  "])),
    () => many(4, word, " "),
    () => many(6, () => `- ${many(5, word, " ")}`, "\n"),
    () => pick(["x", "ab", "0f"]).repeat(1 + Math.floor(random() * 200)),
    () => many(60, () => pick(["中", "文", "字", "。", "日本語", "ไทย"]), ""),
    () => many(30, () => pick(["👨‍👩‍👧‍👦", "🇨🇭", "👍🏽", "e\u0301", "🦊"]), ""),
    () => many(80, word, " "),
    () => " ".repeat(Math.floor(random() * 1500)),
    () => many(10, () => `${" ".repeat(Math.floor(random() * 8))}if (x[${Math.floor(random() * 99)}]) {`, "\n"),
  ];
  return many(14, () => pick(block)(), pick(["\n\n", "\n \n", "\n", "\n\n\n\t\n"]));
}

/** Everything that holds for all passages of all texts. */
function checkPassages(text: string, passages: Passage[], { maxTokens, overlap, tokenizer }: SplitOptions): void {
  let covered = 0;
  let lost = "";
  for (const [i, passage] of passages.entries()) {
    const { position, start, end, tokens } = passage;
    expect(position).toBe(i);
    expect(passage.text).toBe(text.slice(start, end));
    expect(passage.text).toBe(passage.text.trim());
    expect(tokens).toBe(tokenizer.encode(passage.text).length);
    expect(tokens).toBeLessThanOrEqual(maxTokens);
    expect(end).toBeGreaterThan(covered);
    if (start < covered) {
      expect(start).toBeGreaterThan(passages[i - 1]!.start);
      expect(tokenizer.encode(text.slice(start, covered)).length).toBeLessThanOrEqual(overlap);
    }
    if (start > covered) lost += text.slice(covered, start);
    covered = end;
    // Never inside a surrogate pair or behind what joins one character to the next.
    expect(passage.text).not.toMatch(/^(\p{Surrogate}|\p{Mn}|\u200d|\u{1f3fd})|(\p{Surrogate}|\u200d)$/u);
  }
  expect((lost + text.slice(covered)).trim()).toBe("");
}

describe("splitPassages", () => {
  for (const [name, tokenizer] of Object.entries(tokenizers)) {
    it(`keeps every text, within the limit (${name})`, () => {
      for (let seed = 1; seed <= 40; seed++) {
        const text = randomText(seed);
        const maxTokens = [48, 64, 100, 400][seed % 4]!;
        const options = { maxTokens, overlap: [0, 0, 15, 23][(seed >> 2) % 4]!, tokenizer };
        checkPassages(text, splitPassages(text, options), options);
      }
    });
  }

  const tokenizer = wordTokenizer;
  const sentence = (words: number, name = "Word"): string => `${name}${" word".repeat(words - 2)}.`;
  const texts = (text: string, maxTokens: number, overlap = 0): string[] =>
    splitPassages(text, { maxTokens, overlap, tokenizer }).map((passage) => passage.text);

  it("packs whole paragraphs", () => {
    const paragraphs = [sentence(8, "A"), sentence(8, "B"), sentence(8, "C")];
    expect(texts(paragraphs.join("\n\n"), 16)).toEqual([paragraphs.slice(0, 2).join("\n\n"), paragraphs[2]]);
    expect(texts(paragraphs.join("\n \t\n\n"), 24)).toEqual([paragraphs.join("\n \t\n\n")]);
  });

  it("cuts longer paragraphs between sentences, also where their lines are wrapped", () => {
    const sentences = [sentence(10, "A"), sentence(10, "B"), sentence(10, "C")];
    expect(texts(sentences.join(" "), 20)).toEqual([sentences.slice(0, 2).join(" "), sentences[2]]);
    const wrapped = "It was late and\nthe shop was shut. He went\nhome by the long road, which took an hour.";
    expect(texts(wrapped, 16)).toEqual([
      "It was late and\nthe shop was shut.",
      "He went\nhome by the long road, which took an hour.",
    ]);
  });

  it("cuts longer sentences between lines or words, longer words between characters", () => {
    const lines = ["one two three four five six seven", "1 2 3 4 5 6 7 8 9 10 11 12", "end"];
    expect(texts(lines.join("\n"), 16)).toEqual([lines[0], lines.slice(1).join("\n")]);
    const words = Array.from({ length: 40 }, (_, i) => `w${i}`);
    expect(texts(words.join(" "), 16)).toEqual([
      words.slice(0, 16).join(" "),
      words.slice(16, 32).join(" "),
      words.slice(32).join(" "),
    ]);
    const blocks = splitPassages("x".repeat(200), { maxTokens: 16, overlap: 0, tokenizer: blockTokenizer });
    expect(blocks.map(({ text }) => text.length)).toEqual([64, 64, 64, 8]);
  });

  it("never cuts a character that has room", () => {
    const family = "👨‍👩‍👧‍👦";
    const perUnit: TextTokenizer = { encode: (text) => new Array(text.length).fill(0) };
    const passages = splitPassages(family.repeat(9), { maxTokens: 40, overlap: 0, tokenizer: perUnit });
    for (const { text } of passages) expect(text.length % family.length).toBe(0);
    const accents = `a${"\u0301".repeat(5000)}`;
    const cut = splitPassages(accents, { maxTokens: 40, overlap: 0, tokenizer: perUnit });
    expect(cut.map(({ text }) => text).join("")).toBe(accents);
  });

  it("keeps headings with the text that follows them", () => {
    const text = `${sentence(12, "A")}\n\nChapter two\n\nIn the north\n\n${sentence(12, "B")}\n\nThe end`;
    expect(texts(text, 18)).toEqual([
      sentence(12, "A"),
      `Chapter two\n\nIn the north\n\n${sentence(12, "B")}`,
      "The end",
    ]);
    // Many short lines are no headings.
    const poem = Array.from({ length: 12 }, () => "four words a line").join("\n\n");
    expect(texts(poem, 16).map((part) => part.split("\n\n").length)).toEqual([4, 4, 4]);
  });

  it("repeats whole sentences up to the overlap", () => {
    const sentences = ["A", "B", "C", "D", "E", "F"].map((name) => sentence(6, name));
    expect(texts(sentences.join(" "), 20, 6)).toEqual([
      sentences.slice(0, 3).join(" "),
      sentences.slice(2, 5).join(" "),
      sentences.slice(4, 6).join(" "),
    ]);
    // 5 tokens are less than a sentence, and never part of one is repeated.
    expect(texts(sentences.join(" "), 20, 5)).toEqual([sentences.slice(0, 3).join(" "), sentences.slice(3).join(" ")]);
    // What is new comes first: where the next sentence needs all the room nothing is repeated.
    const long = sentence(18, "Long");
    expect(texts(`${sentences[0]} ${sentences[1]} ${long}`, 18, 6)).toEqual([sentences.slice(0, 2).join(" "), long]);
  });

  it("gives no passage for text without words", () => {
    expect(texts("", 16)).toEqual([]);
    expect(texts(" \n\n\t\n", 16)).toEqual([]);
  });

  it("counts few more characters than the text has", () => {
    const prose = Array.from({ length: 400 }, (_, i) => sentence(5 + (i % 30)) + (i % 7 === 0 ? "\n\n" : " ")).join("");
    for (const text of [prose, prose.replaceAll("\n", " "), prose.replaceAll(".", ""), "x".repeat(20_000)]) {
      for (const name of ["words", "blocks", "byte-level BPE"]) {
        let characters = 0;
        const counting: TextTokenizer = {
          encode: (part) => {
            characters += part.length;
            return tokenizers[name]!.encode(part);
          },
        };
        splitPassages(text, { maxTokens: 64, overlap: 0, tokenizer: counting });
        expect(characters / text.length).toBeLessThan(6);
      }
    }
  });

  it("takes time in proportion to the length", () => {
    const seconds = (text: string): number => {
      const start = performance.now();
      splitPassages(text, { maxTokens: 256, overlap: 20, tokenizer: blockTokenizer });
      return (performance.now() - start) / 1000;
    };
    for (const part of ["One two three. ", "word ", "abc", "Line.\n\n", "字"]) {
      seconds(part.repeat(2000));
      expect(seconds(part.repeat(Math.ceil(1_000_000 / part.length)))).toBeLessThan(15);
    }
  }, 120_000);

  it("refuses options that cannot be used, naming the flag", () => {
    const split = (maxTokens: number, overlap: number) => () => splitPassages("a", { maxTokens, overlap, tokenizer });
    expect(split(15, 0)).toThrow(/--passage-tokens: expected a whole number, 16 or more, found 15/);
    expect(split(20.5, 0)).toThrow(/--passage-tokens/);
    expect(split(16, 8)).toThrow(/--overlap: .*found 8/);
    expect(split(16, -1)).toThrow(/--overlap/);
    expect(split(Number.NaN, 0)).toThrow(/--passage-tokens/);
    const greedy: TextTokenizer = { encode: (text) => new Array(50 * text.length).fill(0) };
    expect(() => splitPassages("ab", { maxTokens: 16, overlap: 0, tokenizer: greedy })).toThrow(
      /room for at least one/,
    );
  });
});
