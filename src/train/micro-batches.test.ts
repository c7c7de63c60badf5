import { expect, test } from "vitest";
import { countContexts, planMicroBatches, queryLength } from "./micro-batches.js";

const examples = [3, 0, 5, 2, 2, 9, 1, 0].map((contexts, i) => ({
  contexts: Array.from({ length: contexts }, () => [1]),
  query: Array<number>(20 + 13 * i).fill(2),
  target: [3],
}));

test("micro-batches hold every example once, those of similar size together, and fit where they can", () => {
  const parts = planMicroBatches(examples, queryLength, (part) => countContexts(part) <= 6);
  expect(parts.flat().map(queryLength)).toEqual([111, 98, 85, 72, 59, 46, 33, 20]);
  expect(new Set(parts.flat())).toEqual(new Set(examples));
  expect(parts.map((part) => part.map(({ contexts }) => contexts.length))).toEqual([[0, 1], [9], [2, 2], [5, 0], [3]]);
});

test("no examples, no parts", () => {
  expect(planMicroBatches([], queryLength, () => true)).toEqual([]);
});
