import { describe, expect, it } from "vitest";
import { PicasoError } from "../../errors.js";
import { recallAtK } from "./recall.js";

describe("recallAtK", () => {
  const ranked = ["d", "a", "c", "b", "e"];

  it("counts the relevant results among the first k", () => {
    expect([0, 1, 2, 3, 4, 9].map((k) => recallAtK(ranked, new Set(["a", "b"]), k))).toEqual([0, 0, 0.5, 0.5, 1, 1]);
    expect(recallAtK(ranked, new Set(["d"]), 1)).toBe(1);
    expect(recallAtK(ranked, new Set(["x", "a", "y"]), 5)).toBe(1 / 3);
    expect(recallAtK([], new Set([7]), 3)).toBe(0);
  });

  it("counts a repeated result once, though it takes a place", () => {
    expect(recallAtK([1, 1, 2], new Set([1, 2]), 2)).toBe(0.5);
  });

  it("refuses a query with nothing relevant and a k that is no count", () => {
    expect(() => recallAtK(ranked, new Set<string>(), 1)).toThrow(PicasoError);
    expect(() => recallAtK(ranked, new Set(["a"]), -1)).toThrow(PicasoError);
    expect(() => recallAtK(ranked, new Set(["a"]), Number.NaN)).toThrow(PicasoError);
  });
});
