/** What the tape does around the operations: zeros, what is left out, shapes. */
import { describe, expect, test } from "vitest";
import { evaluate, numbers } from "../../test/support/tape.js";
import { Tape } from "./tape.js";
import { add, exp, matMul, mul, reshape, stopGradient, sum } from "./tensor-ops.js";

describe("zeros", () => {
  test("fold away", () => {
    const tape = new Tape();
    const x = tape.input("x", ["B", 3]);
    const zero = tape.zeros(["B", 3]);
    expect(add(x, zero)).toBe(x);
    expect(add(zero, x)).toBe(x);
    expect(mul(x, zero).isZero).toBe(true);
    expect(reshape(zero, [3, "B"]).isZero).toBe(true);
    expect(matMul(x, zero, { transB: true })).toMatchObject({ isZero: true, shape: ["B", "B"] });
  });

  test("stay where adding them broadcasts", async () => {
    const { dims } = await evaluate({ x: numbers([1, 3]) }, ({ x }, tape) => add(x, tape.zeros([2, 3])));
    expect(dims).toEqual([2, 3]);
  });

  test("are the gradient of what plays no part", async () => {
    const { data, dims } = await evaluate(
      { x: numbers([["B", 2], 3]), y: numbers([["B", 2], 3]) },
      ({ x, y }, tape) => {
        const [gradient] = tape.gradients([{ tensor: exp(x), cotangent: x }], [y]);
        return add(gradient!, mul(y, tape.scalar(1)));
      },
    );
    expect(dims).toEqual([2, 3]);
    expect(data).toEqual(numbers([2, 3]).data);
  });
});

test("only what the outputs need becomes part of the graph", () => {
  const tape = new Tape();
  const x = tape.input("x", [2]);
  const y = tape.input("y", [2]);
  const product = mul(x, y);
  const { inputs } = tape.emit("test", [{ name: "z", tensor: exp(x) }]);
  expect(inputs).toEqual(["x"]);
  expect(tape.emit("test", [{ name: "z", tensor: product }]).inputs).toEqual(["x", "y"]);
});

test("what is given is not computed again", () => {
  const tape = new Tape();
  const x = tape.input("x", [2]);
  const middle = exp(x);
  const outputs = [{ name: "z", tensor: mul(middle, middle) }];
  expect(tape.emit("test", outputs).inputs).toEqual(["x"]);
  expect(tape.emit("test", outputs, [{ name: "middle", tensor: middle }]).inputs).toEqual(["middle"]);
});

test("gradients end where they are stopped", () => {
  const tape = new Tape();
  const x = tape.input("x", [2]);
  const y = stopGradient(exp(x));
  const [gradient] = tape.gradients([{ tensor: mul(y, y), cotangent: y }], [x]);
  expect(gradient!.isZero).toBe(true);
});

test("a gradient of another shape than its tensor's is refused", () => {
  const tape = new Tape();
  const x = tape.input("x", ["B", 2]);
  const total = sum(x, [0]);
  expect(() => tape.gradients([{ tensor: total, cotangent: x }], [x])).toThrow(/\[1,2\] has shape \[B,2\]/);
});
