import { describe, expect, test } from "vitest";
import { randomTokens } from "../../test/support/random-tokens.js";
import { groupByLength } from "./batch.js";
import { SEGMENT_TOKENS } from "./state-batch.js";

const group = (lengths: number[]) => groupByLength(lengths.map((length) => ({ tokens: new Array(length).fill(0) })));

describe("groupByLength", () => {
  const lengths = randomTokens(500, 900);

  test("places every sequence once", () => {
    expect(
      group(lengths)
        .flat()
        .sort((a, b) => a - b),
    ).toEqual([...lengths.keys()]);
  });

  test("bounds the tokens of a run, padding included, and the states of a batch", () => {
    for (const indices of group(lengths)) {
      const longest = Math.max(...indices.map((index) => lengths[index]!));
      expect(Math.min(longest, SEGMENT_TOKENS) * indices.length).toBeLessThanOrEqual(1024);
    }
    for (const short of [0, 1]) {
      expect(Math.max(...group(new Array(500).fill(short)).map(({ length }) => length))).toBeLessThanOrEqual(32);
    }
  });

  test("puts similar lengths together", () => {
    expect(group([100, 3, 101, 2, 99])).toEqual([[3, 1, 4, 0, 2]]);
    expect(group([512, 1, 512, 512])).toEqual([
      [1, 0],
      [2, 3],
    ]);
  });

  test("gives a sequence longer than a run a place", () => {
    expect(group([5000])).toEqual([[0]]);
    expect(group([])).toEqual([]);
  });
});
