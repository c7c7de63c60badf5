/** Repeated timings in three numbers. */

export interface Spread {
  median: number;
  fastest: number;
  slowest: number;
  count: number;
}

/** The median of an even number of values is the mean of the middle two. */
export function spreadOf(values: readonly number[]): Spread {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  const median = sorted.length % 2 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
  return { median, fastest: sorted[0]!, slowest: sorted.at(-1)!, count: sorted.length };
}

/** {@link spreadOf}, null for no values. */
export function spreadOrNull(values: readonly number[]): Spread | null {
  return values.length > 0 ? spreadOf(values) : null;
}

/** Slope and intercept of the least-squares line through points. */
export function lineThrough(points: readonly { x: number; y: number }[]): { slope: number; intercept: number } {
  const mean = (values: number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;
  const [x, y] = [mean(points.map((p) => p.x)), mean(points.map((p) => p.y))];
  const covariance = points.reduce((sum, p) => sum + (p.x - x) * (p.y - y), 0);
  const variance = points.reduce((sum, p) => sum + (p.x - x) ** 2, 0);
  const slope = variance === 0 ? 0 : covariance / variance;
  return { slope, intercept: y - slope * x };
}
