import { describe, expect, test } from "vitest";
import { createSampler, likeliest } from "./sampling.js";

/** Logits whose softmax is `probabilities`. */
const logitsOf = (...probabilities: number[]) => Float32Array.from(probabilities, Math.log);

function frequencies(sample: (logits: Float32Array) => number, logits: Float32Array, draws: number): number[] {
  const counts = new Array<number>(logits.length).fill(0);
  for (let i = 0; i < draws; i++) counts[sample(logits)]!++;
  return counts.map((count) => count / draws);
}

test("likeliest is the first of the largest", () => {
  expect(likeliest(Float32Array.of(-3, 2, 1, 2))).toBe(1);
  expect(likeliest(Float32Array.of(Number.NEGATIVE_INFINITY, -5))).toBe(1);
});

test("without a temperature the likeliest token is taken", () => {
  expect(createSampler({})(logitsOf(0.2, 0.5, 0.3))).toBe(1);
  expect(createSampler({ temperature: 0, topK: 2, topP: 0.1, seed: 1 })(logitsOf(0.2, 0.5, 0.3))).toBe(1);
});

describe("the distribution", () => {
  const draws = 20_000;
  // Four standard deviations of a frequency.
  const tolerance = 4 * Math.sqrt(0.25 / draws);

  test.each<[name: string, options: object, expected: number[]]>([
    ["is the softmax at temperature 1", { temperature: 1 }, [0.1, 0.4, 0.2, 0.3]],
    ["sharpens below 1", { temperature: 0.5 }, [1 / 30, 16 / 30, 4 / 30, 9 / 30]],
    ["is cut to the K likeliest", { temperature: 1, topK: 2 }, [0, 4 / 7, 0, 3 / 7]],
    ["is cut to the nucleus", { temperature: 1, topP: 0.65 }, [0, 4 / 7, 0, 3 / 7]],
    ["takes the token that reaches the nucleus's share", { temperature: 1, topP: 0.75 }, [0, 4 / 9, 2 / 9, 3 / 9]],
    ["is cut by both, K first", { temperature: 1, topK: 2, topP: 0.5 }, [0, 1, 0, 0]],
    ["keeps all with K beyond the vocabulary", { temperature: 1, topK: 99 }, [0.1, 0.4, 0.2, 0.3]],
  ])("%s", (_, options, expected) => {
    const found = frequencies(createSampler({ ...options, seed: 7 }), logitsOf(0.1, 0.4, 0.2, 0.3), draws);
    for (const [token, frequency] of found.entries()) {
      expect(Math.abs(frequency - expected[token]!), `token ${token}`).toBeLessThan(tolerance);
      if (expected[token] === 0) expect(frequency).toBe(0);
    }
  });

  test("never takes what is impossible", () => {
    const sample = createSampler({ temperature: 5, seed: 3 });
    expect(frequencies(sample, logitsOf(0, 0.5, 0, 0.5), 1000).filter((f) => f === 0)).toHaveLength(2);
  });

  test("takes the likeliest with K = 1, at any temperature and the first of equals", () => {
    const sample = createSampler({ temperature: 100, topK: 1, seed: 3 });
    expect(frequencies(sample, logitsOf(0.2, 0.35, 0.1, 0.35), 100)).toEqual([0, 1, 0, 0]);
  });

  test("survives logits far apart", () => {
    const sample = createSampler({ temperature: 0.01, seed: 3 });
    expect(sample(Float32Array.of(3e38, -3e38, 0))).toBe(0);
  });
});

describe("the seed", () => {
  const sequence = (seed: number) => {
    const sample = createSampler({ temperature: 1, seed });
    return Array.from({ length: 40 }, () => sample(logitsOf(0.25, 0.25, 0.25, 0.25)));
  };

  test("repeats the choices, and others differ", () => {
    expect(sequence(5)).toEqual(sequence(5));
    expect(new Set([0, 1, 2, -1, 2 ** 31].map((seed) => sequence(seed).join())).size).toBe(5);
  });
});

test.each([
  ["temperature", -1],
  ["temperature", Number.NaN],
  ["temperature", Number.POSITIVE_INFINITY],
  ["topK", -1],
  ["topK", 1.5],
  ["topP", 0],
  ["topP", 1.1],
  ["topP", Number.NaN],
  ["seed", 0.5],
  ["seed", Number.POSITIVE_INFINITY],
])("%s = %d is refused", (option, value) => {
  expect(() => createSampler({ [option]: value })).toThrow(
    expect.objectContaining({ code: "bad-argument", message: expect.stringContaining(option) }),
  );
});
