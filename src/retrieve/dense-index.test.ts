import { expect, test } from "vitest";
import { Random } from "../evaluate/random.js";
import { DenseIndex } from "./dense-index.js";

/** Small whole numbers, so that many similarities are equal. */
function vectors(count: number, seed: number, width = 3): Float32Array[] {
  const random = Random.of(seed);
  return Array.from({ length: count }, () => Float32Array.from({ length: width }, () => random.below(5) - 2));
}

function cosine(a: Float32Array, b: Float32Array): number {
  const dot = (x: Float32Array, y: Float32Array) => x.reduce((sum, value, i) => sum + value * y[i]!, 0);
  const lengths = Math.sqrt(dot(a, a) * dot(b, b));
  return lengths > 0 ? dot(a, b) / lengths : 0;
}

test.each([1, 2, 7, 60, 1000])("the %i best are those of all similarities sorted", (limit) => {
  const pool = vectors(300, 1, 8);
  const index = new DenseIndex(pool);
  for (const query of vectors(20, 2, 8)) {
    const found = index.search(query, limit);
    const all = pool.map((vector) => cosine(vector, query)).sort((a, b) => b - a);
    expect(found).toHaveLength(Math.min(limit, pool.length));
    expect(new Set(found.map(({ index }) => index)).size).toBe(found.length);
    for (const [rank, { index, score }] of found.entries()) {
      expect(Math.abs(score - all[rank]!)).toBeLessThan(1e-6);
      expect(Math.abs(score - cosine(pool[index]!, query))).toBeLessThan(1e-6);
    }
  }
});

test("equal similarities stand in the list's order, also where the limit parts them", () => {
  const [a, b] = [Float32Array.of(1, 0), Float32Array.of(0.6, 0.8)];
  const index = new DenseIndex([b, a, b, a, b, a]);
  expect(index.search(Float32Array.of(2, 0), 2).map((hit) => hit.index)).toEqual([1, 3]);
  expect(index.search(Float32Array.of(2, 0), 5).map((hit) => hit.index)).toEqual([1, 3, 5, 0, 2]);
});

test("the zero vector is similar to none, and comes before what points away", () => {
  const index = new DenseIndex([Float32Array.of(-1, 0), Float32Array.of(0, 0), Float32Array.of(1, 1)]);
  expect(index.search(Float32Array.of(1, 0), 3).map((hit) => hit.index)).toEqual([2, 1, 0]);
  expect(index.search(Float32Array.of(0, 0), 3).map((hit) => hit.score)).toEqual([0, 0, 0]);
});

test("other widths are refused; nothing is found in nothing", () => {
  expect(() => new DenseIndex([Float32Array.of(1), Float32Array.of(1, 2)])).toThrow(/1 numbers.*found 2/);
  expect(() => new DenseIndex([Float32Array.of(1)]).search(Float32Array.of(1, 2), 1)).toThrow(/found 2/);
  expect(new DenseIndex([]).search(Float32Array.of(1), 3)).toEqual([]);
  expect(new DenseIndex([Float32Array.of(1)]).search(Float32Array.of(1), 0)).toEqual([]);
});
