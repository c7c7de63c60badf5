/** Composition on a tape against the weights that inference uses, and its gradients. */
import { describe, expect, test } from "vitest";
import { checkGradients, evaluate, numbers, type TestArray } from "../../../test/support/tape.js";
import { compositionMethods, compositionWeights } from "../../compose/weights.js";
import type { Tape, Tensor } from "../../onnx/tape.js";
import { concat, reshape } from "../../onnx/tensor-ops.js";
import { composeStates, compositionFeeds } from "./composition.js";

const sizes = { heads: 4, groups: 2, stateSize: 2, headDim: 3, convKernel: 3, convDim: 5 };
const ssmSize = 4 * 2 * 3;
const convSize = 2 * 5;
/** Contexts of each example; those with fewer than the slots leave some empty. */
const counts = [3, 0, 1, 4, 2];
const slots = 5;
/** Sequences, of which the last two are no example's. */
const sequences = 12;

function states() {
  return {
    ssm: numbers([["C", sequences], 2, 2, 6], -1, 1, 1),
    conv: numbers([["C", sequences], 2, 5], -1, 1, 2),
    logDecay: numbers([["C", sequences], 4], -2, 0, 3),
  };
}

describe.each(compositionMethods)("%s", (method) => {
  const others: Record<string, TestArray> = Object.fromEntries(
    compositionFeeds(counts, slots, method, sequences).map(({ name, data, shape }) => [
      name,
      { shape: [], dims: [...shape], data },
    ]),
  );

  function build(inputs: { ssm: Tensor; conv: Tensor; logDecay: Tensor }, tape: Tape): Tensor {
    const { ssm, conv } = composeStates(tape, inputs, method, sizes);
    return concat([reshape(ssm, ["E", ssmSize]), reshape(conv, ["E", convSize])], 1);
  }

  test("composes as inference does, whatever the number of contexts", async () => {
    const inputs = states();
    const { data } = await evaluate(inputs, build, others);
    let first = 0;
    for (const [e, n] of counts.entries()) {
      const start = first;
      first += n;
      const row = (array: TestArray, k: number) => {
        const size = array.data.length / sequences;
        return Float64Array.from(array.data.subarray((start + k) * size, (start + k + 1) * size) as Float32Array);
      };
      const contexts = Array.from({ length: n }, (_, k) => k);
      const weights =
        n > 0
          ? compositionWeights(
              contexts.map((k) => row(inputs.logDecay, k)),
              method,
            )
          : [];
      for (let i = 0; i < ssmSize; i++) {
        const head = Math.floor(i / 12) * 2 + Math.floor((i % 6) / 3);
        const expected = contexts.reduce((sum, k) => sum + weights[k]![head]! * row(inputs.ssm, k)[i]!, 0);
        expect(data[e * (ssmSize + convSize) + i]).toBeCloseTo(expected, 5);
      }
      const shares = contexts.map((k) => (method === "caso" ? Number(k === n - 1) : 1 / n));
      for (let i = 0; i < convSize; i++) {
        const expected = contexts.reduce((sum, k) => sum + shares[k]! * row(inputs.conv, k)[i]!, 0);
        expect(data[e * (ssmSize + convSize) + ssmSize + i]).toBeCloseTo(expected, 5);
      }
    }
  });

  test("has the gradients that differences show", () => checkGradients(states(), build, others));
});
