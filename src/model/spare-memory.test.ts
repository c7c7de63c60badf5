import { expect, test } from "vitest";
import { SpareMemory } from "./spare-memory.js";

test("gives memory to one user at a time, and again after it came back", () => {
  const spare = new SpareMemory();
  const first = spare.take(10);
  spare.giveBack(first);
  expect(spare.take(8)).toBe(first);
  expect(spare.take(8)).not.toBe(first);
});

test("what is too small is not given", () => {
  const spare = new SpareMemory();
  spare.giveBack(new Float32Array(4));
  expect(spare.take(5)).toHaveLength(5);
});
