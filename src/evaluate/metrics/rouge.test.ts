import { describe, expect, it } from "vitest";
import { PicasoError } from "../../errors.js";
import { longestCommonSubsequence, rougeL } from "./rouge.js";

const f = (p: number, r: number) => ((1 + 1.44) * p * r) / (r + 1.44 * p);

describe("longestCommonSubsequence", () => {
  it.each([
    ["police killed the gunman", "police kill the gunman", 3],
    ["police killed the gunman", "the gunman kill police", 2],
    ["a b c b d a b", "b d c a b a", 4],
    ["x", "y", 0],
    ["", "y", 0],
    ["a a a", "a a", 2],
  ])("of %j and %j is %i", (a, b, length) => {
    const split = (text: string) => text.split(" ").filter((word) => word !== "");
    expect(longestCommonSubsequence(split(a), split(b))).toBe(length);
    expect(longestCommonSubsequence(split(b), split(a))).toBe(length);
  });
});

describe("rougeL", () => {
  it("orders the sentences of Lin 2004, section 3.1, as the paper does", () => {
    // With beta = 1 the paper has 3/4 and 1/2; equal lengths make every beta the same.
    expect(rougeL("police kill the gunman", ["police killed the gunman"])).toBeCloseTo(0.75, 15);
    expect(rougeL("the gunman kill police", ["police killed the gunman"])).toBeCloseTo(0.5, 15);
  });

  it("weighs recall by beta 1.2", () => {
    // LCS 3 of 4 answer tokens and 6 reference tokens (the period is one).
    expect(rougeL("red green blue pink", ["red or green or blue."])).toBeCloseTo(f(3 / 4, 3 / 6), 15);
  });

  it("takes the best precision and the best recall, from different references if need be", () => {
    // Against "a b": P = 2/4, R = 1. Against "a b c d e f g h": P = 1, R = 4/8.
    expect(rougeL("a b c d", ["a b", "a b c d e f g h"])).toBeCloseTo(1, 15);
    expect(rougeL("a b x", ["a", "a b c d"])).toBeCloseTo(f(2 / 3, 1), 15);
  });

  it("gives the figure published with the MS MARCO program for its sample", () => {
    // The sample's scores rest on lengths alone: one query without a common token, and one where an answer of 2 tokens
    // shares 1 with a reference of 26 and none with one of 13. Mean: 3.093306E-02.
    const long = `needle ${"hay ".repeat(25)}`;
    const short = "straw ".repeat(13);
    const mean = (rougeL("fir", ["oak", "oak tree"]) + rougeL("sharp needle", [long, short])) / 2;
    expect(mean.toExponential(6)).toBe("3.093306e-2");
  });

  it("ignores case, tells punctuation from words, and gives an empty answer 0", () => {
    expect(rougeL("In PARIS, France", ["in paris , france"])).toBeCloseTo(1, 15);
    expect(rougeL("", ["in paris"])).toBe(0);
    expect(rougeL("rome", ["in paris"])).toBe(0);
  });

  it("refuses a query without references", () => {
    expect(() => rougeL("x", [])).toThrow(PicasoError);
  });
});
