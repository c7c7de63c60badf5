/** Operations of networks against plain loops, and their adjoints. */
import { describe, expect, test } from "vitest";
import { checkGradients, evaluate, numbers } from "../../test/support/tape.js";
import { causalConvolution, crossEntropy, rmsNorm, silu } from "./network-ops.js";
import type { Tensor } from "./tape.js";
import { exp } from "./tensor-ops.js";

test("silu", async () => {
  const x = numbers([["B", 3], 4], -4, 4);
  const { data } = await evaluate({ x }, (t) => silu(t.x));
  for (const [i, value] of (x.data as Float32Array).entries())
    expect(data[i]).toBeCloseTo(value / (1 + Math.exp(-value)), 5);
  await checkGradients({ x }, (t) => silu(t.x));
});

test("rmsNorm", async () => {
  const inputs = { x: numbers([["B", 2], ["T", 3], 5]), weight: numbers([5], 0.5, 2, 2) };
  const { data } = await evaluate(inputs, ({ x, weight }) => rmsNorm(x, weight, 0.01));
  for (let row = 0; row < 6; row++) {
    const values = Array.from(inputs.x.data.slice(row * 5, row * 5 + 5), Number);
    const norm = Math.sqrt(values.reduce((total, v) => total + v * v, 0) / 5 + 0.01);
    for (const [i, v] of values.entries()) {
      expect(data[row * 5 + i]).toBeCloseTo((v / norm) * Number(inputs.weight.data[i]), 5);
    }
  }
  await checkGradients(inputs, ({ x, weight }) => rmsNorm(x, weight, 0.01));
});

describe("causalConvolution", () => {
  const inputs = (length: number) => ({
    x: numbers([2, ["T", length], 3]),
    weight: numbers([3, 1, 4], -1, 1, 2),
    bias: numbers([3], -1, 1, 3),
    past: numbers([2, 3, 3], -1, 1, 4),
  });

  test.each([1, 2, 6])("of %i tokens", async (length) => {
    const given = inputs(length);
    const { x, weight, bias, past } = given;
    const { data } = await evaluate(given, (t) => causalConvolution(t.x, t.past, t.weight, t.bias));
    for (let b = 0; b < 2; b++) {
      for (let t = 0; t < length; t++) {
        for (let c = 0; c < 3; c++) {
          let expected = Number(bias.data[c]);
          for (let w = 0; w < 4; w++) {
            const at = t + w - 3;
            const from = at < 0 ? past.data[(b * 3 + at + 3) * 3 + c] : x.data[(b * length + at) * 3 + c];
            expected += Number(from) * Number(weight.data[c * 4 + w]);
          }
          expect(data[(b * length + t) * 3 + c]).toBeCloseTo(expected, 5);
        }
      }
    }
    await checkGradients(given, (t) => exp(causalConvolution(t.x, t.past, t.weight, t.bias)));
  });

  test.each([1, 6])("of %i tokens from a zero past, without bias", async (length) => {
    const { x, weight } = inputs(length);
    const build = (t: { x: Tensor; weight: Tensor }, zero: Tensor) => exp(causalConvolution(t.x, zero, t.weight, null));
    await checkGradients({ x, weight }, (t, tape) => build(t, tape.zeros([2, 3, 3])));
  });
});

test("crossEntropy", async () => {
  const logits = numbers([["M", 3], 5], -3, 3);
  const targets = { shape: ["M", 1], dims: [3, 1], data: BigInt64Array.of(4n, 0n, 2n) };
  const { data } = await evaluate({ logits, targets }, (t) => crossEntropy(t.logits, t.targets));
  for (let row = 0; row < 3; row++) {
    const values = Array.from(logits.data.slice(row * 5, row * 5 + 5), Number);
    const total = Math.log(values.reduce((sum, v) => sum + Math.exp(v), 0));
    expect(data[row]).toBeCloseTo(total - values[Number(targets.data[row])]!, 5);
  }
  await checkGradients({ logits, targets }, (t) => crossEntropy(t.logits, t.targets));
});
