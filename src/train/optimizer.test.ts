import { describe, expect, test } from "vitest";
import { AdamW, decays } from "./optimizer.js";

const one = (value: number) => {
  const data = Float32Array.of(value);
  return { data, parameters: new Map([["w.weight", { shape: [1], data }]]) };
};
const gradient = (value: number) => new Map([["w.weight", Float32Array.of(value)]]);

describe("AdamW", () => {
  test("the first step has the length of the learning rate, whatever the gradient's", () => {
    for (const size of [1e-3, 1, 1e3]) {
      const { data, parameters } = one(2);
      const norm = new AdamW(parameters, { clipNorm: 1e9 }).step(gradient(size), 1, 0.1);
      expect(norm).toBeCloseTo(size, 4);
      expect(data[0]).toBeCloseTo(1.9, 4);
    }
  });

  test("three steps, by hand", () => {
    const { data, parameters } = one(1);
    const optimizer = new AdamW(parameters, { beta1: 0.5, beta2: 0.75, epsilon: 0, weightDecay: 0.1, clipNorm: 9 });
    // m: 2, -1, 1.5; v: 4, 7, 9.25; divided by 1 - 0.5^t and 1 - 0.75^t.
    let expected = 1;
    for (const [t, g, m, v] of [
      [1, 4, 2, 4],
      [2, -4, -1, 7],
      [3, 4, 1.5, 9.25],
    ] as const) {
      optimizer.step(gradient(g), t, 0.1);
      expected -= 0.1 * (0.1 * expected + m / (1 - 0.5 ** t) / Math.sqrt(v / (1 - 0.75 ** t)));
      expect(data[0]).toBeCloseTo(expected, 6);
    }
  });

  test("shortens gradients by the norm over all parameters", () => {
    const make = () =>
      new Map(["a.weight", "b.weight"].map((name) => [name, { shape: [1], data: Float32Array.of(0) }]));
    const [clipped, scaled] = [make(), make()];
    const of = (a: number, b: number) =>
      new Map([
        ["a.weight", Float32Array.of(a)],
        ["b.weight", Float32Array.of(b)],
      ]);
    const long = new AdamW(clipped, { clipNorm: 1, epsilon: 1 });
    expect(long.step(of(30, 40), 1, 1)).toBe(50);
    new AdamW(scaled, { clipNorm: 1, epsilon: 1 }).step(of(0.6, 0.8), 1, 1);
    for (const name of clipped.keys()) expect(clipped.get(name)!.data[0]).toBeCloseTo(scaled.get(name)!.data[0]!, 6);
  });

  test("a gradient that is not finite changes nothing", () => {
    const { data, parameters } = one(2);
    const optimizer = new AdamW(parameters);
    expect(optimizer.step(gradient(Number.NaN), 1, 0.1)).toBeNaN();
    expect(data[0]).toBe(2);
    expect(optimizer.moments.get("w.weight")!.m[0]).toBe(0);
  });
});

test("decays matrices and nothing else", () => {
  const mixer = "backbone.layers.0.mixer";
  for (const name of ["backbone.embeddings.weight", `${mixer}.in_proj.weight`, `${mixer}.in_proj.lora_A.weight`]) {
    expect(decays(name), name).toBe(true);
  }
  for (const part of ["norm.weight", "in_proj.bias", "dt_bias", "A_log", "D", "conv1d.bias"]) {
    expect(decays(`${mixer}.${part}`), part).toBe(false);
  }
  expect(decays("backbone.norm_f.weight")).toBe(false);
});
