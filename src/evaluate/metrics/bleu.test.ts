import { describe, expect, it } from "vitest";
import { PicasoError } from "../../errors.js";
import { bleu1Counts, bleuColumns, bleuFromSums, corpusBleu1 } from "./bleu.js";
import { bootstrap } from "./bootstrap.js";

describe("bleu1Counts", () => {
  it("clips repeated tokens: the example of Papineni et al. 2002, section 2.1", () => {
    const references = ["The cat is on the mat", "There is a cat on the mat"];
    expect(bleu1Counts("the the the the the the the", references)).toEqual({
      matches: 2,
      guesses: 7,
      referenceLength: 7,
    });
  });

  it("matches the paper's example 1: 17 of 18 and 8 of 14 words", () => {
    const references = [
      "It is a guide to action that ensures that the military will forever heed Party commands",
      "It is the guiding principle which guarantees the military forces always being under the command of the Party",
      "It is the practical guide for the army always to heed the directions of the party",
    ];
    const first = "It is a guide to action which ensures that the military always obeys the commands of the party";
    const second = "It is to insure the troops forever hearing the activity guidebook that party direct";
    expect(bleu1Counts(first, references)).toEqual({ matches: 17, guesses: 18, referenceLength: 18 });
    expect(bleu1Counts(second, references)).toEqual({ matches: 8, guesses: 14, referenceLength: 16 });
  });

  it("takes the closest reference length, the shorter of two equally close", () => {
    expect(bleu1Counts("a b c d", ["a b c d e f", "a b", "a b c d e f g"]).referenceLength).toBe(2);
    expect(bleu1Counts("a b c d", ["a b", "a b c d e f"]).referenceLength).toBe(2);
    expect(bleu1Counts("a b c d", ["a b c d e", "a b"]).referenceLength).toBe(5);
  });

  it("counts an empty answer as no guesses", () => {
    expect(bleu1Counts("", ["a bulb"])).toEqual({ matches: 0, guesses: 0, referenceLength: 2 });
  });

  it("refuses a query without references", () => {
    expect(() => bleu1Counts("x", [])).toThrow(PicasoError);
  });
});

describe("corpusBleu1", () => {
  it("gives the figure published with the MS MARCO program for its sample", () => {
    // Lengths as in that sample: 1 token of 1 or 2, none matching, and 2 tokens, 1 matching, of 26 or 13. 8.520511E-03.
    const counts = [
      bleu1Counts("fir", ["oak", "oak tree"]),
      bleu1Counts("sharp needle", [`needle ${"hay ".repeat(25)}`, "straw ".repeat(13)]),
    ];
    expect(counts[1]).toEqual({ matches: 1, guesses: 2, referenceLength: 13 });
    expect(corpusBleu1(counts).toExponential(6)).toBe("8.520511e-3");
  });

  it("sums before it divides, and penalizes the corpus, not the answer, for brevity", () => {
    const short = bleu1Counts("a", ["a b c"]);
    const long = bleu1Counts("d e f g h", ["d e f"]);
    expect(corpusBleu1([short, long])).toBeCloseTo(4 / 6, 15);
    expect(corpusBleu1([short])).toBeCloseTo(Math.exp(1 - 3), 15);
  });

  it("is 1 for equal answers and 0 without guesses", () => {
    expect(corpusBleu1([bleu1Counts("One answer.", ["one answer ."])])).toBe(1);
    expect(corpusBleu1([bleu1Counts("", ["one"])])).toBe(0);
    expect(corpusBleu1([])).toBe(0);
  });

  it("can be resampled by query", () => {
    const counts = [
      bleu1Counts("red fox", ["red fox runs"]),
      bleu1Counts("blue", ["a green tree"]),
      bleu1Counts("an old oak", ["the old oak"]),
      bleu1Counts("one two three", ["one two three"]),
    ];
    const interval = bootstrap(bleuColumns(counts), bleuFromSums);
    expect(interval.value).toBe(corpusBleu1(counts));
    expect(interval.low).toBeLessThan(interval.value);
    expect(interval.high).toBeGreaterThan(interval.value);
    expect(interval.high).toBeLessThanOrEqual(1);
  });
});
