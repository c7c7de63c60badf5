import { describe, expect, it } from "vitest";
import { PicasoError } from "../../errors.js";
import { Random } from "../random.js";
import {
  bootstrap,
  bootstrapDifference,
  bootstrapMean,
  bootstrapRatio,
  bootstrapShareOfGain,
  type Interval,
} from "./bootstrap.js";

/** Sums of 12 uniform numbers less 6: near enough to normal with mean 0 and variance 1. */
function normal(random: Random): number {
  let sum = -6;
  for (let i = 0; i < 12; i++) sum += random.float();
  return sum;
}

/** The percentile interval straight from its definition, with its own way of drawing and of finding percentiles. */
function plain(queries: number, statistic: (draw: number[]) => number, seed: number): { low: number; high: number } {
  const random = Random.of(seed);
  const values: number[] = [];
  for (let r = 0; r < 2000; r++) {
    const draw = Array.from({ length: queries }, () => random.below(queries));
    values.push(statistic(draw));
  }
  values.sort((a, b) => a - b);
  const percentile = (p: number) => {
    const place = (p / 100) * 1999;
    const i = Math.floor(place);
    return values[i]! * (i + 1 - place) + (values[i + 1] ?? 0) * (place - i);
  };
  return { low: percentile(2.5), high: percentile(97.5) };
}

function near(found: Interval, expected: { low: number; high: number }): void {
  expect(found.low).toBeCloseTo(expected.low, 12);
  expect(found.high).toBeCloseTo(expected.high, 12);
}

const total = (draw: number[], column: number[]) => draw.reduce((sum, q) => sum + column[q]!, 0);

describe("bootstrap", () => {
  const loss = [9, 4, 7, 1, 12, 6, 3];
  const other = [8, 5, 5, 1, 9, 7, 2];
  const tokens = [3, 2, 2, 1, 5, 2, 1];

  it("gives the statistic of the queries as its value", () => {
    expect(bootstrapMean([1, 2, 6]).value).toBe(3);
    expect(bootstrapRatio(loss, tokens).value).toBe(42 / 16);
    expect(bootstrapDifference(loss, other).value).toBe(5 / 7);
    expect(bootstrapDifference(loss, other, tokens).value).toBe(5 / 16);
    const share = bootstrapShareOfGain({ none: [10, 20], method: [8, 15], concat: [7, 13] });
    expect(share.value).toBe(7 / 10);
  });

  it("gives the interval of a direct computation on the same resamples", () => {
    near(
      bootstrapMean(loss, { seed: 3 }),
      plain(7, (d) => total(d, loss) / 7, 3),
    );
    near(
      bootstrapRatio(loss, tokens, { seed: 3 }),
      plain(7, (d) => total(d, loss) / total(d, tokens), 3),
    );
    const paired = plain(7, (d) => (total(d, loss) - total(d, other)) / total(d, tokens), 3);
    near(bootstrapDifference(loss, other, tokens, { seed: 3 }), paired);
    const none = loss.map((x) => x + 5);
    const share = plain(7, (d) => (total(d, none) - total(d, loss)) / (total(d, none) - total(d, other)), 3);
    near(bootstrapShareOfGain({ none, method: loss, concat: other }, { seed: 3 }), share);
  });

  it("takes differences within a query: methods a constant apart differ by exactly that", () => {
    const a = Array.from({ length: 200 }, (_, i) => (i * 37) % 64);
    const b = a.map((x) => x - 2);
    expect(bootstrapDifference(a, b)).toEqual({ value: 2, low: 2, high: 2 });
  });

  it("comes near the normal interval for a mean, and covers the true mean about 95 times of 100", () => {
    const random = Random.of(1);
    const values = Array.from({ length: 2000 }, () => normal(random));
    const mean = values.reduce((x, y) => x + y) / 2000;
    const deviation = Math.sqrt(values.reduce((x, y) => x + (y - mean) ** 2, 0) / 2000);
    const found = bootstrapMean(values);
    const half = (1.96 * deviation) / Math.sqrt(2000);
    expect(Math.abs(found.low - (mean - half))).toBeLessThan(0.1 * half);
    expect(Math.abs(found.high - (mean + half))).toBeLessThan(0.1 * half);

    let covered = 0;
    for (let trial = 0; trial < 400; trial++) {
      const sample = Array.from({ length: 60 }, () => normal(random));
      const { low, high } = bootstrapMean(sample, { resamples: 300, seed: trial });
      if (low <= 0 && high >= 0) covered++;
    }
    // Four standard deviations of a binomial count around 0.94, which is what n = 60 gives the percentile method.
    expect(Math.abs(covered / 400 - 0.94)).toBeLessThan(0.048);
  });

  it("repeats to the last digit and depends on the seed", () => {
    const options = { resamples: 500, seed: 11 };
    expect(bootstrapRatio(loss, tokens, options)).toEqual(bootstrapRatio(loss, tokens, options));
    expect(bootstrapRatio(loss, tokens, options)).not.toEqual(bootstrapRatio(loss, tokens, { ...options, seed: 12 }));
    // Values of an independent program: another generator or order of summation would change published intervals.
    expect(bootstrapMean([0.1, 0.7, 0.4, 0.9, 0.2], { resamples: 40, seed: 1 })).toEqual({
      value: 0.4600000000000001,
      low: 0.2780000000000001,
      high: 0.6624999999999998,
    });
  });

  it("narrows with less confidence", () => {
    const wide = bootstrapMean(loss, { confidence: 0.99 });
    const narrow = bootstrapMean(loss, { confidence: 0.5 });
    expect(wide.low).toBeLessThan(narrow.low);
    expect(wide.high).toBeGreaterThan(narrow.high);
  });

  it("has infinite bounds where the share of gain is often undefined, NaN where it has no value", () => {
    // Concatenation gains 3 on one query of five and loses a little on the others: many draws hold no gain.
    const none = [10, 10, 10, 10, 10];
    const concat = [7, 10.5, 10.5, 10.5, 10.5];
    const often = bootstrapShareOfGain({ none, method: [8, 10, 10, 10, 10], concat });
    expect(often.value).toBe(2);
    expect([often.low, often.high]).toEqual([-Infinity, Infinity]);
    expect(bootstrapShareOfGain({ none, method: concat, concat: none }).value).toBeNaN();
  });

  it("widens, and never narrows, for a few undefined resamples", () => {
    const statistic = (hidden: (mean: number) => boolean) =>
      bootstrap([loss], (sums, n) => (hidden(sums[0]! / n) ? Number.NaN : sums[0]! / n), { resamples: 4000 });
    const all = statistic(() => false);
    const some = statistic((mean) => mean > all.high * 1.05);
    expect(some.high).toBeGreaterThanOrEqual(all.high);
    expect(some.low).toBeLessThan(all.low);
  });

  it("refuses what it cannot resample", () => {
    for (const call of [
      () => bootstrapMean([]),
      () => bootstrap([], () => 0),
      () => bootstrapMean([1, Number.NaN]),
      () => bootstrapRatio([1, 2], [1]),
      () => bootstrapRatio([1, 2], [0, 0]),
      () => bootstrapDifference([1], [1], [0]),
      () => bootstrapMean([1], { resamples: 0 }),
      () => bootstrapMean([1], { resamples: 1e9 }),
      () => bootstrapMean([1], { confidence: 1 }),
    ]) {
      expect(call).toThrow(PicasoError);
    }
    expect(() => bootstrapMean([1, Infinity])).toThrow(/column 0, query 1.*finite/);
  });

  it("resamples 10,000 queries 2,000 times in a time fit for reports", () => {
    const random = Random.of(2);
    const columns = Array.from({ length: 3 }, () => Float64Array.from({ length: 10_000 }, () => 1 + random.float()));
    const start = performance.now();
    bootstrapDifference(columns[0]!, columns[1]!, columns[2]!);
    // Some 0.4 s on an idle core. The bound leaves room for a busy machine and still fails for a slower algorithm.
    expect(performance.now() - start).toBeLessThan(8000);
  });
});
