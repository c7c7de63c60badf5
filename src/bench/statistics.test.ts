import { expect, it } from "vitest";
import { lineThrough, spreadOf, spreadOrNull } from "./statistics.js";

it("median, fastest and slowest", () => {
  expect(spreadOf([5, 1, 3])).toEqual({ median: 3, fastest: 1, slowest: 5, count: 3 });
  expect(spreadOf([4, 1, 3, 2])).toEqual({ median: 2.5, fastest: 1, slowest: 4, count: 4 });
  expect(spreadOrNull([])).toBeNull();
  expect(spreadOrNull([7])).toEqual({ median: 7, fastest: 7, slowest: 7, count: 1 });
});

it("a line through points", () => {
  expect(lineThrough([0, 1, 2, 10].map((x) => ({ x, y: 3 * x + 2 })))).toEqual({ slope: 3, intercept: 2 });
  const scattered = [0, 1, 2].map((x, i) => ({ x, y: [0, 3, 0][i]! }));
  expect(lineThrough(scattered)).toEqual({ slope: 0, intercept: 1 });
  expect(lineThrough([{ x: 4, y: 1 }]).slope).toBe(0);
});
