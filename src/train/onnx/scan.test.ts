/** The recurrence in chunks against the plain recurrence, and its gradients. */
import { describe, expect, test } from "vitest";
import { checkGradients, evaluate, numbers, type TestArray } from "../../../test/support/tape.js";
import type { Tensor } from "../../onnx/tape.js";
import { concat, reshape } from "../../onnx/tensor-ops.js";
import { chunkedScan } from "./scan.js";
import { lowerTriangle } from "./sequences.js";

const B = 2;
const P = 2;
const N = 3;

describe.each([
  { groups: 1, heads: 2, chunk: 6, chunks: 1 },
  { groups: 2, heads: 4, chunk: 6, chunks: 1 },
  { groups: 1, heads: 2, chunk: 3, chunks: 4 },
  { groups: 2, heads: 4, chunk: 2, chunks: 3 },
])("$groups groups, $heads heads, $chunks chunks of $chunk", ({ groups, heads, chunk, chunks }) => {
  const T = chunk * chunks;
  const J = heads / groups;
  const config = { groups, heads, headDim: P, stateSize: N };
  const mask: TestArray = { shape: ["Q", "Q"], dims: [chunk, chunk], data: lowerTriangle(chunk, 0) };
  const after: TestArray = { shape: ["K", "K"], dims: [chunks, chunks], data: lowerTriangle(chunks, 1) };
  const inputs = {
    c: numbers([["B", B], ["T", T], groups * N], -1, 1, 1),
    b: numbers([["B", B], ["T", T], groups * N], -1, 1, 2),
    value: numbers([["B", B], ["T", T], heads * P], -1, 1, 3),
    logA: numbers([["B", B], ["T", T], heads], -1, 0, 4),
    past: numbers([["B", B], groups, N, J * P], -1, 1, 5),
    mask,
    ...(chunks > 1 && { after }),
  };

  /** Outputs and state of every sequence, in a row. */
  function build(t: Record<"c" | "b" | "value" | "logA" | "past" | "mask", Tensor> & { after?: Tensor }): Tensor {
    const { output, present } = chunkedScan(t, config, { mask: t.mask, after: t.after ?? null });
    return concat([reshape(output, ["B", T * heads * P]), reshape(present, ["B", groups * N * J * P])], 1);
  }

  test("gives what the recurrence gives, token by token", async () => {
    const { data } = await evaluate(inputs, build);
    const size = T * heads * P + groups * N * J * P;
    for (let n = 0; n < B; n++) {
      for (let h = 0; h < heads; h++) {
        const g = Math.floor(h / J);
        const at = (i: number, p: number) => ((n * groups + g) * N + i) * J * P + (h % J) * P + p;
        const state = Array.from({ length: N * P }, (_, i) => Number(inputs.past.data[at(Math.floor(i / P), i % P)]));
        for (let t = 0; t < T; t++) {
          const token = n * T + t;
          const a = Math.exp(Number(inputs.logA.data[token * heads + h]));
          for (let p = 0; p < P; p++) {
            let y = 0;
            for (let i = 0; i < N; i++) {
              const b = Number(inputs.b.data[(token * groups + g) * N + i]);
              const c = Number(inputs.c.data[(token * groups + g) * N + i]);
              state[i * P + p] = a * state[i * P + p]! + b * Number(inputs.value.data[(token * heads + h) * P + p]);
              y += c * state[i * P + p]!;
            }
            expect(data[n * size + (t * heads + h) * P + p]).toBeCloseTo(y, 4);
          }
        }
        for (let i = 0; i < N; i++) {
          for (let p = 0; p < P; p++) {
            const found = data[n * size + T * heads * P + (g * N + i) * J * P + (h % J) * P + p];
            expect(found).toBeCloseTo(state[i * P + p]!, 4);
          }
        }
      }
    }
  });

  test("has the gradients that differences show", () => checkGradients(inputs, build));

  test("has them from a zero state too", async () => {
    const { past: _, ...others } = inputs;
    await checkGradients(others, (t, tape) => build({ ...t, past: tape.zeros(["B", groups, N, J * P]) }));
  });
});
