/** Every operation on tensors: its value against a plain loop where the operator is not ONNX's own, its adjoint always. */
import { describe, expect, test } from "vitest";
import { checkGradients, evaluate, numbers } from "../../test/support/tape.js";
import * as ops from "./tensor-ops.js";

describe("arithmetic", () => {
  test.each([
    ["add", ops.add],
    ["sub", ops.sub],
    ["mul", ops.mul],
  ] as const)("%s, with every kind of broadcast", async (_, operation) => {
    const small = numbers([3, 1], -1, 1, 2);
    await checkGradients({ a: numbers([["B", 2], 3, 4]), b: numbers([["B", 2], 3, 4], -1, 1, 2) }, ({ a, b }) =>
      operation(a, b),
    );
    await checkGradients({ a: numbers([["B", 2], 3, 4]), b: small }, ({ a, b }) => operation(a, b));
    await checkGradients({ a: small, b: numbers([["B", 2], 3, 4]) }, ({ a, b }) => operation(a, b));
    await checkGradients({ a: numbers([2, 1, 3]), b: numbers([1, ["Q", 4], 1], -1, 1, 2) }, ({ a, b }) =>
      operation(a, b),
    );
  });

  test.each([
    ["neg", ops.neg, -1],
    ["exp", ops.exp, -1],
    ["log", ops.log, 0.5],
    ["reciprocal", ops.reciprocal, 0.5],
    ["sigmoid", ops.sigmoid, -3],
    ["softplus", ops.softplus, -3],
    ["scale", (x: Parameters<typeof ops.neg>[0]) => ops.scale(x, 0.7), -1],
    // Bounds that no value comes near.
    ["clip", (x: Parameters<typeof ops.neg>[0]) => ops.clip(x, -0.111, 0.333), -1],
  ] as const)("%s", async (_, operation, low) => {
    await checkGradients({ x: numbers([["B", 3], 4], low, low + 2) }, ({ x }) => operation(x));
  });

  test("a tensor used twice gets both gradients", async () => {
    await checkGradients({ x: numbers([5]) }, ({ x }) => ops.add(ops.mul(x, x), ops.exp(x)));
  });
});

describe("sums", () => {
  test.each([[[0]], [[1]], [[2]], [[0, 2]], [[0, 1, 2]]])("over the axes %j", async (axes) => {
    await checkGradients({ x: numbers([["B", 2], 3, ["T", 4]]) }, ({ x }) => ops.sum(x, axes));
  });

  test.each([
    [false, false, [1, 3, 6]],
    [true, false, [0, 1, 3]],
    [false, true, [6, 5, 3]],
    [true, true, [5, 3, 0]],
  ])("running, exclusive %s, reverse %s", async (exclusive, reverse, expected) => {
    const x = { ...numbers([1, 3]), data: Float32Array.of(1, 2, 3) };
    const { data } = await evaluate({ x }, (t) => ops.cumSum(t.x, 1, { exclusive, reverse }));
    expect([...data]).toEqual(expected);
    await checkGradients({ x: numbers([2, ["T", 4], 3]) }, (t) => ops.cumSum(t.x, 1, { exclusive, reverse }));
  });

  test("expand", async () => {
    await checkGradients({ x: numbers([["B", 2], 1, 3]) }, ({ x }) => ops.expand(x, ["B", 4, 3]));
  });
});

describe("products of matrices", () => {
  const cases = [false, true].flatMap((transA) => [false, true].map((transB) => ({ transA, transB })));
  test.each(cases)("%j", async ({ transA, transB }) => {
    const a = numbers(transA ? [["B", 2], 2, 4, 3] : [["B", 2], 2, 3, 4]);
    const b = numbers(transB ? [["B", 2], 2, 5, 4] : [["B", 2], 2, 4, 5], -1, 1, 2);
    const { data, dims } = await evaluate({ a, b }, (t) => ops.matMul(t.a, t.b, { transA, transB }));
    expect(dims).toEqual([2, 2, 3, 5]);
    for (let n = 0; n < 4; n++) {
      for (let i = 0; i < 3; i++) {
        for (let j = 0; j < 5; j++) {
          let expected = 0;
          for (let k = 0; k < 4; k++) {
            const left = a.data[n * 12 + (transA ? k * 3 + i : i * 4 + k)] as number;
            const right = b.data[n * 20 + (transB ? j * 4 + k : k * 5 + j)] as number;
            expected += left * right;
          }
          expect(data[n * 15 + i * 5 + j]).toBeCloseTo(expected, 5);
        }
      }
    }
    await checkGradients({ a, b }, (t) => ops.matMul(t.a, t.b, { transA, transB }));
  });

  test("that do not fit are refused", async () => {
    const inputs = { a: numbers([2, 3]), b: numbers([2, 3]) };
    await expect(evaluate(inputs, ({ a, b }) => ops.matMul(a, b))).rejects.toThrow(/no product of \[2,3\] and \[2,3\]/);
  });
});

describe("changes of shape", () => {
  const x = numbers([["B", 2], 4, ["T", 3]]);

  test("transpose", () => checkGradients({ x }, (t) => ops.transpose(t.x, [2, 0, 1])));
  test("reverse", async () => {
    expect((await evaluate({ x: numbers([3]) }, (t) => ops.reverse(t.x, 0))).data).toEqual(numbers([3]).data.reverse());
    await checkGradients({ x }, (t) => ops.reverse(t.x, 1));
  });
  test("reshape to sizes of which one is known only from the others", async () => {
    await checkGradients({ x }, (t) => ops.exp(ops.reshape(t.x, ["B", 2, "more"])));
  });
  test("split and concat", async () => {
    await checkGradients({ x }, (t) => {
      const [first, second] = ops.split(t.x, 1, [1, 3]) as [typeof t.x, typeof t.x];
      return ops.concat([ops.exp(second), ops.mul(first, first)], 1);
    });
  });
  test("concat along an axis of unknown size", async () => {
    const row = numbers([["B", 2], 4, 2], -1, 1, 2);
    await checkGradients({ x, row }, (t) => ops.exp(ops.concat([t.row, t.x], 2)));
  });
  test.each([
    [0, 0],
    [1, 0],
    [0, 2],
    [1, 1],
  ])("trim and pad by %i and %i, at fixed and other sizes", async (before, after) => {
    for (const axis of [1, 2]) {
      await checkGradients({ x }, (t) => ops.exp(ops.trim(t.x, axis, before, after)));
      await checkGradients({ x }, (t) => ops.exp(ops.pad(t.x, axis, before, after)));
    }
  });
  test("that have two unknown sizes are refused", async () => {
    await expect(evaluate({ x }, (t) => ops.reshape(t.x, ["u", "v"]))).rejects.toThrow(
      /no input of the graph has .* u,v/,
    );
  });
});
