import { describe, expect, it } from "vitest";
import { gaussLegendre } from "./gauss-legendre.js";

describe("gaussLegendre", () => {
  it("known rules on [0, 1]", () => {
    expect(gaussLegendre(1)).toEqual({ s: Float64Array.of(0.5), weight: Float64Array.of(1) });
    const half = Math.sqrt(1 / 3) / 2;
    expect(gaussLegendre(2).s[0]).toBeCloseTo(0.5 - half, 15);
    expect(gaussLegendre(2).weight[1]).toBeCloseTo(0.5, 15);
    expect(gaussLegendre(3).s[0]).toBeCloseTo(0.5 - Math.sqrt(0.6) / 2, 15);
    expect(gaussLegendre(3).weight[1]).toBeCloseTo(4 / 9, 15);
    // Abramowitz and Stegun, table 25.4, n = 5, moved to [0, 1].
    expect(gaussLegendre(5).s[0]).toBeCloseTo((1 - 0.906179845938664) / 2, 15);
    expect(gaussLegendre(5).weight[0]).toBeCloseTo(0.236926885056189 / 2, 15);
  });

  it.each([1, 2, 3, 4, 5, 8, 17, 64, 109, 500, 1000])("%d nodes integrate powers up to degree 2q - 1", (q) => {
    const { s, weight } = gaussLegendre(q);
    expect(s).toHaveLength(q);
    const degrees = [0, 1, 2, 3, q, 2 * q - 2, 2 * q - 1].filter((degree) => degree <= 2 * q - 1);
    for (const degree of degrees) {
      let integral = 0;
      for (let i = 0; i < q; i++) integral += weight[i]! * Math.exp(degree * Math.log1p(-s[i]!));
      expect(Math.abs(integral * (degree + 1) - 1)).toBeLessThan(2e-13);
    }
  });

  it.each([2, 7, 100, 999])("%d nodes are distinct, inside and symmetric", (q) => {
    const { s, weight } = gaussLegendre(q);
    const sorted = [...s].sort((a, b) => a - b);
    expect(sorted[0]).toBeGreaterThan(1 / (4 * q * q));
    for (let i = 1; i < q; i++) expect(sorted[i]! - sorted[i - 1]!).toBeGreaterThan(0.1 / q ** 2);
    for (let i = 0; i < q; i++) {
      expect(s[i]! + s[q - 1 - i]!).toBeCloseTo(1, 15);
      expect(weight[i]).toBe(weight[q - 1 - i]);
    }
  });

  it("q nodes are not exact for degree 2q", () => {
    const { s, weight } = gaussLegendre(3);
    const integral = s.reduce((sum, value, i) => sum + weight[i]! * (1 - value) ** 6, 0);
    expect(Math.abs(integral * 7 - 1)).toBeGreaterThan(1e-3);
  });

  it("computes a rule once", () => {
    expect(gaussLegendre(12)).toBe(gaussLegendre(12));
  });
});
