import { expect, test } from "vitest";
import type { TrainingExample } from "../example.js";
import { onnxMicroBatches } from "./micro-batch.js";

const sequence = (length: number) => Array<number>(length).fill(1);
const example = (contexts: number[], query: number): TrainingExample => {
  return { contexts: contexts.map(sequence), query: sequence(query), target: [1] };
};

const examples = [
  ...[example([30, 10], 20), example([100, 90, 80], 15), example([], 60), example([], 5), example([40], 40)],
  ...[example([25, 25], 10), example([1, 1, 1, 1, 1, 1], 1)],
];

test("micro-batches hold every example once, within both limits with padding, or are of one example", () => {
  const limits = { groupTokens: 200, groupContexts: 5 };
  const parts = onnxMicroBatches(examples, limits);
  expect(parts.flat()).toHaveLength(examples.length);
  expect(new Set(parts.flat())).toEqual(new Set(examples));
  for (const part of parts.filter(({ length }) => length > 1)) {
    const longest = Math.max(0, ...part.flatMap(({ contexts }) => contexts.map(({ length }) => length)));
    const query = Math.max(...part.map(({ query, target }) => query.length + target.length - 1));
    const contexts = part.flatMap((own) => own.contexts).length;
    expect(contexts * longest + part.length * query).toBeLessThanOrEqual(limits.groupTokens);
    expect(contexts).toBeLessThanOrEqual(limits.groupContexts);
  }
  expect(parts.length).toBeLessThan(examples.length);
});

test.each([
  ["context", example([20, 201], 1)],
  ["query and target", example([20], 201)],
])("a %s that is too long is refused with both numbers", (_, long) => {
  expect(() => onnxMicroBatches([...examples, long], { groupTokens: 200, groupContexts: 5 })).toThrow(
    /at most 200 tokens.*found 201/,
  );
});
