import { expect, test } from "vitest";
import { smallBatches } from "./small-batches.js";

const sequences = (...lengths: number[]) => lengths.map((length) => ({ tokens: new Array<number>(length).fill(1) }));

test("long sequences go alone, short ones together with their like", () => {
  expect(smallBatches(sequences(300, 120, 900, 121, 124, 122, 250))).toEqual([[1, 3, 5, 4], [6], [0], [2]]);
});

test("no sequences make no batch, and empty ones do not grow it for ever", () => {
  expect(smallBatches([])).toEqual([]);
  expect(smallBatches(sequences(0, 0, 513))).toEqual([[0, 1], [2]]);
});

test("every sequence is in one batch of at most 512 padded tokens, or alone", () => {
  const all = sequences(...Array.from({ length: 200 }, (_, i) => (i * 37) % 700));
  const batches = smallBatches(all);
  expect(batches.flat().sort((a, b) => a - b)).toEqual([...all.keys()]);
  for (const batch of batches) {
    const longest = Math.max(...batch.map((i) => all[i]!.tokens.length));
    if (batch.length > 1) expect(longest * batch.length).toBeLessThanOrEqual(512);
  }
});

test("padding that costs more than a run of its own is avoided", () => {
  expect(smallBatches(sequences(20, 22, 60, 64, 62))).toEqual([
    [0, 1],
    [2, 4, 3],
  ]);
  expect(smallBatches(sequences(55, 58, 60, 64, 62))).toEqual([[0, 1, 2, 4, 3]]);
});
