import { expect, test } from "vitest";
import { bucketLength, packSequences } from "./packing.js";

const sequences = (...lengths: number[]) =>
  lengths.map((length, i) => Array.from({ length }, (_, t) => 1000 * i + t + 1));

test("every sequence is in one group, whole, with its length", () => {
  const given = sequences(5, 40, 33, 1, 200, 64, 7, 65, 31, 32);
  const seen = new Set<number>();
  for (const group of packSequences(given, 256)) {
    expect(group.rows * group.length).toBeLessThanOrEqual(256);
    expect(group.tokens.length).toBe(group.rows * group.length);
    for (let row = 0; row < group.rows; row++) {
      const tokens = group.tokens.subarray(row * group.length, (row + 1) * group.length);
      const length = group.lengths[row]!;
      const member = group.members[row];
      expect([...tokens.subarray(0, length)]).toEqual(member === undefined ? [] : given[member]);
      expect(tokens.subarray(length).every((token) => token === 0)).toBe(true);
      if (member !== undefined) seen.add(member);
    }
  }
  expect(seen.size).toBe(given.length);
});

test("groups have the size of their bucket, the last one a part of it", () => {
  const groups = packSequences(sequences(...Array(9).fill(60)), 256);
  expect(groups.map(({ rows, length }) => [rows, length])).toEqual([
    [4, 64],
    [4, 64],
    [1, 64],
  ]);
  expect(packSequences([], 256)).toEqual([]);
});

test("rows of a group: few different numbers, not far above its sequences", () => {
  const rows = Array.from({ length: 12 }, (_, i) => packSequences(sequences(...Array(i + 1).fill(128)), 1536)[0]!.rows);
  expect(rows).toEqual([1, 2, 3, 5, 5, 6, 9, 9, 9, 12, 12, 12]);
});

test("buckets hold their lengths", () => {
  for (let tokens = 1; tokens < 4000; tokens++) expect(bucketLength(tokens)).toBeGreaterThanOrEqual(tokens);
  expect([1, 32, 33, 768, 769, 1537].map(bucketLength)).toEqual([32, 32, 48, 768, 1536, 2304]);
});

test("a sequence longer than a group is refused with both numbers", () => {
  expect(() => packSequences(sequences(300), 256)).toThrow(/at most 256 tokens.*found 300/);
});
