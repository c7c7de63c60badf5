import { describe, expect, it } from "vitest";
import { PicasoError } from "../../errors.js";
import { answerF1, exactMatch, normalizeAnswer } from "./squad.js";

describe("normalizeAnswer", () => {
  it.each([
    ["The Eiffel Tower!", "eiffel tower"],
    ["  a  cat,\tan owl \n and the dog. ", "cat owl and dog"],
    // Punctuation goes before articles: letters it held apart become one word.
    ["U.S.A.", "usa"],
    ["a.", ""],
    ["the-end", "theend"],
    ["$1,000.50", "100050"],
    ["theme another than", "theme another than"],
    // Only ASCII punctuation goes.
    ["1914–1918 “war”", "1914–1918 “war”"],
    // Letters of any script belong to words, so these hold no article.
    ["à la façon éa aé", "à la façon éa aé"],
    ["a_b a", "ab"],
    ["x—the—y", "x— —y"],
    // Whitespace as Python has it: U+00A0, U+0085 and U+001F separate words, U+FEFF does not.
    ["p\u00a0q\u0085r\u001fs", "p q r s"],
    ["p\ufeffq", "p\ufeffq"],
  ])("%j becomes %j", (text, normal) => {
    expect(normalizeAnswer(text)).toBe(normal);
  });
});

describe("exactMatch", () => {
  it("compares normal forms and takes any reference", () => {
    expect(exactMatch("the Denver Broncos.", ["Carolina Panthers", "Denver Broncos"])).toBe(1);
    expect(exactMatch("Denver", ["Denver Broncos"])).toBe(0);
    expect(exactMatch("The", [""])).toBe(1);
  });
});

describe("answerF1", () => {
  it("is 2PR/(P+R) over words", () => {
    // 2 of 3 words are right, 2 of 4 found: P = 2/3, R = 1/2, F1 = 4/7.
    expect(answerF1("red green black", ["red blue green white"])).toBeCloseTo(4 / 7, 15);
    expect(answerF1("black", ["red"])).toBe(0);
    expect(answerF1("An apple", ["apple!"])).toBe(1);
  });

  it("counts a repeated word as often as both have it", () => {
    // 2 common of 3 and of 2: P = 2/3, R = 1.
    expect(answerF1("no no no", ["no no"])).toBeCloseTo(0.8, 15);
  });

  it("takes the best reference", () => {
    expect(answerF1("in 1889", ["the year 1889", "1889"])).toBeCloseTo(2 / 3, 15);
  });

  it("gives an empty answer 0, as the official v1.1 program does", () => {
    expect(answerF1("", [""])).toBe(0);
    expect(answerF1("the", ["a"])).toBe(0);
  });

  it("takes words that name properties of objects for words", () => {
    expect(answerF1("constructor", ["prototype"])).toBe(0);
    expect(answerF1("constructor", ["constructor"])).toBe(1);
  });

  it("refuses a question without references", () => {
    expect(() => answerF1("x", [])).toThrow(PicasoError);
    expect(() => exactMatch("x", [])).toThrow(PicasoError);
  });
});
