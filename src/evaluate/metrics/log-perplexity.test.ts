import { describe, expect, it } from "vitest";
import { PicasoError } from "../../errors.js";
import { countWords, logPerplexity } from "./log-perplexity.js";

describe("logPerplexity", () => {
  it("is the vocabulary size for a uniform guess", () => {
    const found = logPerplexity([{ loss: 6 * Math.log(50), tokens: 6, words: 3 }]);
    expect(found.logPerplexity).toBeCloseTo(Math.log(50), 12);
    expect(found.perplexityPerToken).toBeCloseTo(50, 10);
    expect(found.perplexityPerWord).toBeCloseTo(2500, 8);
  });

  it("weighs tokens, not texts", () => {
    const found = logPerplexity([
      { loss: 30, tokens: 10, words: 8 },
      { loss: 2, tokens: 2, words: 2 },
    ]);
    expect(found).toMatchObject({ loss: 32, tokens: 12, words: 10, logPerplexity: 32 / 12 });
    expect(found.perplexityPerWord).toBe(Math.exp(3.2));
  });

  it("relates the two perplexities as published for WikiText-2 (17.37 a token, 38.98 a word)", () => {
    const tokens = 309_475;
    const found = logPerplexity([{ loss: tokens * Math.log(17.37), tokens, words: 241_185 }]);
    expect(Math.abs(found.perplexityPerWord - 38.98)).toBeLessThan(0.02);
  });

  it("refuses no tokens and losses or counts that are none", () => {
    for (const texts of [
      [],
      [{ loss: 0, tokens: 0, words: 1 }],
      [{ loss: Number.NaN, tokens: 1, words: 1 }],
      [{ loss: 1, tokens: 1.5, words: 1 }],
      [{ loss: 1, tokens: 1, words: -1 }],
    ]) {
      expect(() => logPerplexity(texts)).toThrow(PicasoError);
    }
    expect(logPerplexity([{ loss: 1, tokens: 1, words: 0 }]).perplexityPerWord).toBeNaN();
  });
});

describe("countWords", () => {
  it("counts what stands between spaces, tabs and line ends", () => {
    expect(countWords("a \ufeff b\u00a0c")).toBe(3);
    expect(countWords(" a  @-@ b\n\n c ")).toBe(4);
    expect(countWords(" \n")).toBe(0);
  });
});
