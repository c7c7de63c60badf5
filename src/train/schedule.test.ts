import { expect, test } from "vitest";
import { learningRateAt, type ScheduleShape } from "./schedule.js";

const rates = (shape: ScheduleShape, warmupSteps: number, steps: number) =>
  Array.from({ length: steps }, (_, i) => learningRateAt(i + 1, { learningRate: 8, shape, warmupSteps, steps }));

test("rises in a straight line, then falls towards zero", () => {
  expect(rates("linear", 2, 6)).toEqual([4, 8, 8, 6, 4, 2]);
  expect(rates("constant", 2, 4)).toEqual([4, 8, 8, 8]);
  const cosine = rates("cosine", 0, 4);
  for (const [i, rate] of [8, 4 + 4 * Math.SQRT1_2, 4, 4 - 4 * Math.SQRT1_2].entries()) {
    expect(cosine[i]).toBeCloseTo(rate, 12);
  }
});

test("a warm-up longer than the training only rises", () => {
  expect(rates("linear", 8, 3)).toEqual([1, 2, 3]);
  expect(rates("linear", 3, 3).at(-1)).toBe(8);
});
