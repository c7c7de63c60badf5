import { describe, expect, it } from "vitest";
import { PicasoError } from "../errors.js";
import { Random, splitMix64 } from "./random.js";

const draws = (random: Random, n: number) => Array.from({ length: n }, () => random.uint32());

describe("Random", () => {
  it("gives the sequence of the authors' reference implementation (state 1, 2, 3, 4)", () => {
    const expected = [11520, 0, 5927040, 70819200, 2031721883, 1637235492, 1287239034, 3734860849, 3729100597];
    expect(draws(Random.fromState(1, 2, 3, 4), 9)).toEqual(expected);
  });

  it("seeds with SplitMix64 (published sequence for 1234567)", () => {
    const outputs: bigint[] = [];
    let state = 1234567n;
    for (let i = 0; i < 3; i++) {
      const step = splitMix64(state);
      state = step.state;
      outputs.push(step.output);
    }
    expect(outputs).toEqual([6457827717110365317n, 3203168211198807973n, 9817491932198370423n]);
  });

  it("repeats for the same seed and differs for other seeds and paths", () => {
    const keys = [[0], [1], [0, 0], [0, 1], [1, 0], [2 ** 40], [0, 1, 2], [0, 2, 1]];
    const first = keys.map(([seed, ...path]) => draws(Random.of(seed!, ...path), 4).join());
    const again = keys.map(([seed, ...path]) => draws(Random.of(seed!, ...path), 4).join());
    expect(again).toEqual(first);
    expect(new Set(first).size).toBe(keys.length);
  });

  it("draws below n evenly (chi-squared, 6 degrees of freedom, p = 0.001: 22.46)", () => {
    const random = Random.of(5);
    const counts = new Array<number>(7).fill(0);
    for (let i = 0; i < 70_000; i++) counts[random.below(7)]!++;
    const chi = counts.reduce((sum, count) => sum + (count - 10_000) ** 2 / 10_000, 0);
    expect(chi).toBeLessThan(22.46);
  });

  it("draws floats in [0, 1) with the mean and variance of a uniform number", () => {
    const random = Random.of(6);
    const values = Array.from({ length: 100_000 }, () => random.float());
    const mean = values.reduce((a, b) => a + b) / values.length;
    const variance = values.reduce((a, b) => a + (b - mean) ** 2, 0) / values.length;
    expect(Math.min(...values.slice(0, 50_000))).toBeGreaterThanOrEqual(0);
    expect(values.every((v) => v < 1)).toBe(true);
    expect(Math.abs(mean - 0.5)).toBeLessThan(0.004);
    expect(Math.abs(variance - 1 / 12)).toBeLessThan(0.002);
  });

  it("reaches every order of a shuffle about equally often", () => {
    const counts = new Map<string, number>();
    const random = Random.of(7);
    for (let i = 0; i < 24_000; i++) {
      const order = random.shuffle([0, 1, 2, 3]).join("");
      counts.set(order, (counts.get(order) ?? 0) + 1);
    }
    expect(counts.size).toBe(24);
    const chi = [...counts.values()].reduce((sum, count) => sum + (count - 1000) ** 2 / 1000, 0);
    expect(chi).toBeLessThan(49.73); // 23 degrees of freedom, p = 0.001
  });

  it("samples different numbers, the whole range at k = n, and a prefix for a smaller k", () => {
    const all = Random.of(8).sample(50, 50);
    expect([...all].sort((a, b) => a - b)).toEqual(Array.from({ length: 50 }, (_, i) => i));
    expect(Random.of(8).sample(50, 12)).toEqual(all.slice(0, 12));
    expect(Random.of(8).sample(0, 0)).toEqual([]);
    expect(new Set(Random.of(9).sample(2 ** 31, 1000)).size).toBe(1000);
  });

  it("samples every item about equally often", () => {
    const counts = new Array<number>(10).fill(0);
    const random = Random.of(10);
    for (let i = 0; i < 20_000; i++) for (const j of random.sample(10, 3)) counts[j]!++;
    for (const count of counts) expect(Math.abs(count - 6000)).toBeLessThan(6 * Math.sqrt(20_000 * 0.3 * 0.7));
  });

  it("refuses seeds, bounds and sample sizes it cannot use", () => {
    for (const call of [
      () => Random.of(-1),
      () => Random.of(0.5),
      () => Random.of(0, Number.NaN),
      () => Random.of(0).below(0),
      () => Random.of(0).below(2 ** 33),
      () => Random.of(0).sample(3, 4),
      () => Random.of(0).sample(3, Number.NaN),
      () => Random.fromState(0, 0, 0, 0),
    ]) {
      expect(call).toThrow(PicasoError);
    }
  });
});
