/**
 * Operations on tensors of a tape, each with its adjoint: arithmetic, sums, products of matrices, and changes of shape.
 * Those of neural networks are in network-ops.ts. Operands broadcast as in NumPy, along axes whose size is the number 1.
 */
import type { Dimension, NodeOptions } from "./graph.js";
import type { Adjoint, Emit, Shape, Tensor } from "./tape.js";

export function add(a: Tensor, b: Tensor): Tensor {
  if (a.isZero && fits(a.shape, b.shape)) return b;
  if (b.isZero && fits(b.shape, a.shape)) return a;
  return single("Add", [a, b], broadcast(a.shape, b.shape), {}, ([g]) => [like(g!, a), like(g!, b)]);
}

export function sub(a: Tensor, b: Tensor): Tensor {
  return single("Sub", [a, b], broadcast(a.shape, b.shape), {}, ([g]) => [like(g!, a), like(neg(g!), b)]);
}

export function mul(a: Tensor, b: Tensor): Tensor {
  const shape = broadcast(a.shape, b.shape);
  if (a.isZero || b.isZero) return a.tape.zeros(shape);
  return single("Mul", [a, b], shape, {}, ([g]) => [like(mul(g!, b), a), like(mul(g!, a), b)]);
}

export function scale(x: Tensor, factor: number): Tensor {
  return mul(x, x.tape.scalar(factor));
}

export function neg(x: Tensor): Tensor {
  return single("Neg", [x], x.shape, {}, ([g]) => [neg(g!)]);
}

export function exp(x: Tensor): Tensor {
  const y = single("Exp", [x], x.shape, {}, ([g]) => [mul(g!, y)]);
  return y;
}

export function log(x: Tensor): Tensor {
  return single("Log", [x], x.shape, {}, ([g]) => [mul(g!, reciprocal(x))]);
}

export function reciprocal(x: Tensor): Tensor {
  const y = single("Reciprocal", [x], x.shape, {}, ([g]) => [neg(mul(g!, mul(y, y)))]);
  return y;
}

export function sigmoid(x: Tensor): Tensor {
  const y = single("Sigmoid", [x], x.shape, {}, ([g]) => [mul(g!, sub(y, mul(y, y)))]);
  return y;
}

export function softplus(x: Tensor): Tensor {
  return single("Softplus", [x], x.shape, {}, ([g]) => [mul(g!, sigmoid(x))]);
}

/** The same values, as a constant: gradients end here. */
export function stopGradient(x: Tensor): Tensor {
  return single("Identity", [x], x.shape, {}, () => []);
}

/** The gradient is 0 outside of the bounds. */
export function clip(x: Tensor, low: number, high: number): Tensor {
  const bounds = [low, high].map((bound) => x.tape.scalar(bound));
  return single("Clip", [x, ...bounds], x.shape, {}, ([g]) => [mul(g!, isWithin(x, bounds))]);
}

/** 1 within the bounds, 0 outside. */
function isWithin(x: Tensor, bounds: readonly Tensor[]): Tensor {
  return x.tape.record(
    [x, ...bounds],
    [x.shape],
    ({ graph }, [value, low, high]) => {
      const above = graph.node("GreaterOrEqual", [value!, low!]);
      const below = graph.node("LessOrEqual", [value!, high!]);
      return [graph.node("Cast", [graph.node("And", [above, below])], { attributes: { to: 1 } })];
    },
    () => [],
  )[0]!;
}

/** Sum over some axes, which keep the size 1. */
export function sum(x: Tensor, axes: readonly number[]): Tensor {
  // One after the other, the inner first: a graphics card gives a thread to each result, and many results need many.
  if (axes.length > 1) return axes.toSorted((a, b) => b - a).reduce((whole, axis) => sum(whole, [axis]), x);
  const kept = x.shape.map((size, axis) => (axes.includes(axis) ? 1 : size));
  const [result] = x.tape.record(
    [x],
    [kept],
    ({ graph }, [value]) => [graph.node("ReduceSum", [value!, graph.constant("i64", axes)])],
    ([g]) => [expand(g!, x.shape)],
  ) as [Tensor];
  return result;
}

/** Repeats along axes of size 1. */
export function expand(x: Tensor, shape: Shape): Tensor {
  if (`${x.shape}` === `${shape}`) return x;
  if (x.isZero) return x.tape.zeros(shape);
  return x.tape.record(
    [x],
    [shape],
    ({ graph, shapeVector }, [value]) => [graph.node("Expand", [value!, shapeVector(shape)])],
    ([g]) => [like(g!, x)],
  )[0]!;
}

/** Running sum along an axis; `exclusive` leaves out the element itself, `reverse` runs from the end. */
export function cumSum(x: Tensor, axis: number, { exclusive = false, reverse = false } = {}): Tensor {
  return x.tape.record(
    [x],
    [x.shape],
    ({ graph }, [value]) => {
      const attributes = { exclusive: Number(exclusive), reverse: Number(reverse) };
      return [graph.node("CumSum", [value!, graph.constant("i64", [axis], [])], { attributes })];
    },
    ([g]) => [cumSum(g!, axis, { exclusive, reverse: !reverse })],
  )[0]!;
}

export interface MatMulOptions {
  transA?: boolean;
  transB?: boolean;
}

/** Products of the matrices in the last two axes; the axes before them are equal. */
export function matMul(a: Tensor, b: Tensor, { transA = false, transB = false }: MatMulOptions = {}): Tensor {
  const [rows, inner] = matrixShape(a, transA);
  const [otherInner, columns] = matrixShape(b, transB);
  const batch = a.shape.slice(0, -2);
  if (inner !== otherInner || `${batch}` !== `${b.shape.slice(0, -2)}`) {
    throw new Error(`no product of [${a.shape}]${transA ? "^T" : ""} and [${b.shape}]${transB ? "^T" : ""}`);
  }
  const shape = [...batch, rows, columns];
  if (a.isZero || b.isZero) return a.tape.zeros(shape);
  // Not FusedMatMul itself, which WebGPU lacks; on the CPU the engine makes it of the two.
  const emit: Emit = ({ graph }, values) => {
    const perm = [...batch.keys(), batch.length + 1, batch.length];
    const turned = [transA, transB].map((isTurned, k) =>
      isTurned ? graph.node("Transpose", [values[k]!], { attributes: { perm } }) : values[k]!,
    );
    return [graph.node("MatMul", turned)];
  };
  const adjoint: Adjoint = ([g]) => [
    transA ? matMul(b, g!, { transA: transB, transB: true }) : matMul(g!, b, { transB: !transB }),
    transB ? matMul(g!, a, { transA: true, transB: transA }) : matMul(a, g!, { transA: !transA }),
  ];
  return a.tape.record([a, b], [shape], emit, adjoint)[0]!;
}

function matrixShape({ shape }: Tensor, isTransposed: boolean): [Dimension, Dimension] {
  const [rows, columns] = shape.slice(-2) as [Dimension, Dimension];
  return isTransposed ? [columns, rows] : [rows, columns];
}

/** Reorders the axes: axis i of the result is axis `order[i]` of x. */
export function transpose(x: Tensor, order: readonly number[]): Tensor {
  const shape = order.map((axis) => x.shape[axis]!);
  if (x.isZero) return x.tape.zeros(shape);
  const back = order.map((_, axis) => order.indexOf(axis));
  return single("Transpose", [x], shape, { attributes: { perm: order } }, ([g]) => [transpose(g!, back)]);
}

export function reshape(x: Tensor, shape: Shape): Tensor {
  if (`${x.shape}` === `${shape}`) return x;
  if (x.isZero) return x.tape.zeros(shape);
  return x.tape.record(
    [x],
    [shape],
    ({ graph, shapeVector }, [value]) => [graph.node("Reshape", [value!, shapeVector(shape)])],
    ([g]) => [reshape(g!, x.shape)],
  )[0]!;
}

/** Cuts an axis into parts of these sizes. */
export function split(x: Tensor, axis: number, sizes: Shape): Tensor[] {
  return x.tape.record(
    [x],
    sizes.map((size) => x.shape.with(axis, size)),
    ({ graph, shapeVector }, [value]) =>
      graph.nodes("Split", [value!, shapeVector(sizes)], sizes.length, { attributes: { axis } }),
    (parts) => [concat(parts, axis)],
  );
}

/** Joins tensors along an axis, where at most one of the sizes varies. */
export function concat(parts: readonly Tensor[], axis: number): Tensor {
  const sizes = parts.map(({ shape }) => shape[axis]!);
  const fixed = sizes.reduce<number>((total, size) => total + (typeof size === "number" ? size : 0), 0);
  const [varying = 0] = sizes.filter((size) => typeof size === "string");
  const shape = parts[0]!.shape.with(axis, longer(varying, fixed));
  return single("Concat", parts, shape, { attributes: { axis } }, ([g]) => split(g!, axis, sizes));
}

/** Takes elements off both ends of an axis. */
export function trim(x: Tensor, axis: number, before: number, after: number): Tensor {
  if (before === 0 && after === 0) return x;
  const shape = x.shape.with(axis, longer(x.shape[axis]!, -before - after));
  if (x.isZero) return x.tape.zeros(shape);
  return x.tape.record(
    [x],
    [shape],
    ({ graph }, [value]) => {
      const end = after > 0 ? -after : Number.MAX_SAFE_INTEGER;
      return [graph.node("Slice", [value!, ...[before, end, axis].map((i) => graph.constant("i64", [i]))])];
    },
    ([g]) => [pad(g!, axis, before, after)],
  )[0]!;
}

/** Puts zeros at both ends of an axis. */
export function pad(x: Tensor, axis: number, before: number, after: number): Tensor {
  const shape = x.shape.with(axis, longer(x.shape[axis]!, before + after));
  if (x.isZero) return x.tape.zeros(shape);
  return x.tape.record(
    [x],
    [shape],
    ({ graph }, [value]) => {
      const counts = [before, after].flatMap((count) => x.shape.map((_, i) => (i === axis ? count : 0)));
      return [graph.node("Pad", [value!, graph.constant("i64", counts)])];
    },
    ([g]) => [trim(g!, axis, before, after)],
  )[0]!;
}

/** A size that is `count` more: `T+3` for a size called T. */
function longer(size: Dimension, count: number): Dimension {
  if (typeof size === "number") return size + count;
  const [name, more = "0"] = size.split("+");
  const total = Number(more) + count;
  return total === 0 ? name! : `${name}+${total}`;
}

/** Turns an axis around. */
export function reverse(x: Tensor, axis: number): Tensor {
  return x.tape.record(
    [x],
    [x.shape],
    ({ graph }, [value]) => {
      const range = [-1, -Number.MAX_SAFE_INTEGER, axis, -1];
      return [graph.node("Slice", [value!, ...range.map((i) => graph.constant("i64", [i]))])];
    },
    ([g]) => [reverse(g!, axis)],
  )[0]!;
}

/** The gradient of an operand that was broadcast: summed over the axes it was repeated along. */
function like(g: Tensor, operand: Tensor): Tensor {
  if (`${g.shape}` === `${operand.shape}`) return g;
  const offset = g.shape.length - operand.shape.length;
  const repeated = [...g.shape.keys()].filter((axis) => {
    return axis < offset || (operand.shape[axis - offset] === 1 && g.shape[axis] !== 1);
  });
  return reshape(sum(g, repeated), operand.shape);
}

function broadcast(a: Shape, b: Shape): Shape {
  const rank = Math.max(a.length, b.length);
  return Array.from({ length: rank }, (_, axis) => {
    const [x = 1, y = 1] = [a[axis - rank + a.length], b[axis - rank + b.length]];
    if (x !== y && x !== 1 && y !== 1) throw new Error(`[${a}] and [${b}] do not broadcast`);
    return x === 1 ? y : x;
  });
}

/** Whether broadcasting the first to the second gives the second. */
function fits(a: Shape, b: Shape): boolean {
  return `${broadcast(a, b)}` === `${b}`;
}

function single(
  operator: string,
  inputs: readonly Tensor[],
  shape: Shape,
  options: NodeOptions,
  adjoint: Adjoint,
): Tensor {
  const emit: Emit = ({ graph }, values) => [graph.node(operator, values, options)];
  return inputs[0]!.tape.record(inputs, [shape], emit, adjoint)[0]!;
}
