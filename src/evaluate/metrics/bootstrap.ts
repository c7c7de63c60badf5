/**
 * Percentile bootstrap over queries (Efron, "Bootstrap methods: another look at the jackknife", 1979): queries are
 * drawn with replacement as often as there are queries, the statistic is computed on the draw, and the middle 95% of
 * many such values is the interval.
 *
 * Every statistic here is a function of sums over queries (a mean, total loss / total tokens, corpus BLEU), so a
 * resample only adds up columns of per-query numbers. The same seed and number of queries give the same resamples in
 * every call; a difference or a share is taken within each resample, so it is paired by query.
 */
import { PicasoError } from "../../errors.js";
import { Random } from "../random.js";

export interface Interval {
  /** The statistic on the queries themselves; NaN where it is not defined. */
  value: number;
  /** Lower bound; -Infinity where too many resamples leave the statistic undefined. */
  low: number;
  /** Upper bound; Infinity where too many resamples leave the statistic undefined. */
  high: number;
}

export interface BootstrapOptions {
  /** @default 2000 */
  resamples?: number;
  /** Share of resamples inside the interval. @default 0.95 */
  confidence?: number;
  /** @default 0 */
  seed?: number;
}

/** One number per query. */
export type Column = ArrayLike<number>;

/**
 * The interval of `statistic`, which gets the sums of the columns over a draw of queries and the number of draws.
 *
 * A resample for which it returns NaN counts as beyond both ends of the interval: an often undefined statistic gets
 * infinite bounds, never narrower ones.
 *
 * Throws `bad-argument` for no queries, columns of different lengths, numbers that are not finite, and options out of
 * range.
 */
export function bootstrap(
  columns: readonly Column[],
  statistic: (sums: Float64Array, queries: number) => number,
  options: BootstrapOptions = {},
): Interval {
  const { resamples = 2000, confidence = 0.95, seed = 0 } = options;
  if (!Number.isInteger(resamples) || resamples < 1 || resamples > 1_000_000) {
    throw badArgument("bootstrap resamples", "a whole number from 1 to 1,000,000", String(resamples));
  }
  if (!(confidence > 0 && confidence < 1)) {
    throw badArgument("bootstrap confidence", "a number between 0 and 1", String(confidence));
  }
  const rows = interleave(columns);
  const width = columns.length;
  const queries = rows.length / width;
  const sums = new Float64Array(width);
  for (let q = 0; q < queries; q++) addRow(sums, rows, q * width);
  const value = statistic(sums, queries);

  const random = Random.of(seed);
  const values = new Float64Array(resamples);
  for (let r = 0; r < resamples; r++) {
    sums.fill(0);
    for (let q = 0; q < queries; q++) addRow(sums, rows, random.below(queries) * width);
    values[r] = statistic(sums, queries);
  }
  return { value, ...middle(values, confidence) };
}

/** The mean of one number per query. */
export function bootstrapMean(values: Column, options?: BootstrapOptions): Interval {
  return bootstrap([values], (sums, queries) => sums[0]! / queries, options);
}

/**
 * A ratio of two totals, such as total loss / total tokens. Throws `bad-argument` when the total below the line is
 * not positive.
 */
export function bootstrapRatio(numerators: Column, denominators: Column, options?: BootstrapOptions): Interval {
  const interval = bootstrap([numerators, denominators], (s) => ratio(s[0]!, s[1]!), options);
  if (Number.isNaN(interval.value)) {
    throw badArgument("bootstrap of a ratio", "a positive total below the line", "zero or less");
  }
  return interval;
}

/**
 * How much `a` lies above `b` per unit, both measured on the same queries: (total of a - total of b) / total of the
 * units. Units are tokens for losses; left out, each query counts one and the result is the difference of means.
 */
export function bootstrapDifference(a: Column, b: Column, units?: Column, options?: BootstrapOptions): Interval {
  if (units === undefined) {
    return bootstrap([a, b], (sums, queries) => (sums[0]! - sums[1]!) / queries, options);
  }
  const interval = bootstrap([a, b, units], (s) => ratio(s[0]! - s[1]!, s[2]!), options);
  if (Number.isNaN(interval.value)) {
    throw badArgument("bootstrap of a difference", "a positive total of units", "zero or less");
  }
  return interval;
}

/**
 * How much of concatenation's gain over no context a method keeps (PICASO, arXiv 2502.17605): (none - method) /
 * (none - concat), from the total losses of each query over the same tokens. 1 is all of it. Where concatenation gains
 * nothing there is no share: the value is NaN, and such resamples widen the interval as {@link bootstrap} says.
 */
export function bootstrapShareOfGain(
  losses: { none: Column; method: Column; concat: Column },
  options?: BootstrapOptions,
): Interval {
  return bootstrap([losses.none, losses.method, losses.concat], (s) => ratio(s[0]! - s[1]!, s[0]! - s[2]!), options);
}

function ratio(above: number, below: number): number {
  return below > 0 ? above / below : Number.NaN;
}

/** Columns side by side, [queries, columns], so that one draw reads one place in memory. */
function interleave(columns: readonly Column[]): Float64Array {
  const queries = columns[0]?.length ?? 0;
  if (queries === 0) throw badArgument("bootstrap", "at least one query", "none");
  const rows = new Float64Array(queries * columns.length);
  for (const [c, column] of columns.entries()) {
    if (column.length !== queries) {
      throw badArgument(`bootstrap, column ${c}`, `${queries} values as in column 0`, String(column.length));
    }
    for (let q = 0; q < queries; q++) {
      const value = column[q]!;
      if (!Number.isFinite(value)) {
        throw badArgument(`bootstrap, column ${c}, query ${q}`, "a finite number", String(value));
      }
      rows[q * columns.length + c] = value;
    }
  }
  return rows;
}

function addRow(sums: Float64Array, rows: Float64Array, offset: number): void {
  for (let c = 0; c < sums.length; c++) sums[c]! += rows[offset + c]!;
}

/** The middle `confidence` of the values; those that are NaN stand below all others for `low`, above for `high`. */
function middle(values: Float64Array, confidence: number): { low: number; high: number } {
  const sorted = values.toSorted(); // numerically, NaN last
  let defined = sorted.length;
  while (defined > 0 && Number.isNaN(sorted[defined - 1])) defined--;
  const missing = sorted.length - defined;
  const last = sorted.length - 1;
  const edge = ((1 - confidence) / 2) * last;
  return {
    low: at(edge, (i) => (i < missing ? -Infinity : sorted[i - missing]!)),
    high: at(last - edge, (i) => (i < defined ? sorted[i]! : Infinity)),
  };
}

/** The value at a fractional place, by linear interpolation between its two neighbours. */
function at(place: number, value: (index: number) => number): number {
  const index = Math.floor(place);
  const fraction = place - index;
  const left = value(index);
  return fraction === 0 || !Number.isFinite(left) ? left : left + fraction * (value(index + 1) - left);
}

function badArgument(where: string, expected: string, found: string): PicasoError {
  return new PicasoError("bad-argument", { where, expected, found, next: "Check the measurements handed over." });
}
