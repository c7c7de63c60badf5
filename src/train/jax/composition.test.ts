/** The differentiable weights against the float64 ones that composition uses, and their gradients against differences. */
import { describe, expect, test } from "vitest";
import { compositionMethods, compositionWeights } from "../../compose/weights.js";
import { Random } from "../../evaluate/random.js";
import { distance } from "../test-support.js";
import { slotWeights } from "./composition.js";
import { jit, np, type Tensor, vjp } from "./jax.js";

const heads = 6;

/** From nearly no decay to e^-400. */
function randomLogDecays(count: number): Float64Array[] {
  const random = Random.of(11, count);
  return Array.from({ length: count }, () =>
    Float64Array.from({ length: heads }, () => Math.fround(-(10 ** (random.float() * 6 - 3.4)))),
  );
}

/** [1, K, H] with the given contexts in the first slots; what stands in the others must not matter. */
function slotted(logDecays: readonly Float64Array[], slots: number): { logDecay: Tensor; filled: Tensor } {
  const values = new Float32Array(slots * heads).fill(-7);
  for (const [k, value] of logDecays.entries()) values.set(value, k * heads);
  return {
    logDecay: np.array(values).reshape([1, slots, heads]),
    filled: np.array(Float32Array.from({ length: slots }, (_, k) => Number(k < logDecays.length))).reshape([1, slots]),
  };
}

describe.each(compositionMethods)("%s", (method) => {
  const weigh = jit((logDecay: Tensor, filled: Tensor) => slotWeights(method, logDecay, filled));

  test.each([
    [1, 1],
    [1, 4],
    [2, 2],
    [3, 4],
    [5, 8],
    [8, 8],
    [11, 16],
  ])("%i contexts in %i slots", async (count, slots) => {
    const logDecays = randomLogDecays(count);
    const { logDecay, filled } = slotted(logDecays, slots);
    const found = await weigh(logDecay, filled).data();
    const expected = compositionWeights(logDecays, method).flatMap((weights) => [...weights]);
    expect(distance(found.slice(0, count * heads), expected)).toBeLessThan(1e-6);
    expect([...found.slice(count * heads)].every((weight) => weight === 0)).toBe(true);
  });

  test("no contexts, no weights", async () => {
    const { logDecay, filled } = slotted([], 4);
    expect([...(await weigh(logDecay, filled).data())].every((weight) => weight === 0)).toBe(true);
  });

  test.each([
    [2, 2],
    [3, 4],
    [5, 8],
  ])("gradient for %i contexts in %i slots", async (count, slots) => {
    const logDecays = randomLogDecays(count);
    const random = Random.of(5);
    const share = logDecays.map(() => Float64Array.from({ length: heads }, () => random.float() - 0.5));
    const total = () => {
      const weights = compositionWeights(logDecays, method);
      return weights.reduce((sum, row, k) => sum + row.reduce((s, weight, h) => s + weight * share[k]![h]!, 0), 0);
    };
    const expected = logDecays.flatMap((row) =>
      [...row].map((value, h) => {
        // The step grows with the value, so that differences keep their digits; the value stays negative.
        const step = 1e-4 * Math.abs(value);
        const at = (x: number) => {
          row[h] = x;
          const result = total();
          row[h] = value;
          return result;
        };
        return (at(value + step) - at(value - step)) / (2 * step);
      }),
    );
    const gradient = jit((logDecay: Tensor, filled: Tensor, cotangent: Tensor) => {
      const [, pullBack] = vjp((x: Tensor) => slotWeights(method, x, filled), [logDecay]);
      return (pullBack(cotangent) as [Tensor])[0];
    });
    const { logDecay, filled } = slotted(logDecays, slots);
    const found = await gradient(logDecay, filled, slotted(share, slots).logDecay).data();
    expect(distance(found.slice(0, count * heads), expected)).toBeLessThan(1e-5);
    expect([...found.slice(count * heads)].every((value) => value === 0)).toBe(true);
  });
});
