/**
 * Operations of neural networks on tensors of a tape: single operators of ONNX Runtime, with adjoints that pass over
 * the data less often than those of the arithmetic they are made of.
 */
import type { Tensor } from "./tape.js";
import {
  add,
  concat,
  matMul,
  mul,
  neg,
  pad,
  reciprocal,
  reshape,
  reverse,
  scale,
  sigmoid,
  split,
  sub,
  sum,
  trim,
} from "./tensor-ops.js";

const contrib = { domain: "com.microsoft" } as const;

/** x sigmoid(x). */
export function silu(x: Tensor): Tensor {
  const [y] = x.tape.record(
    [x],
    [x.shape],
    // QuickGelu with alpha = 1, in one pass.
    ({ graph }, [value]) => [graph.node("QuickGelu", [value!], { ...contrib, floats: { alpha: 1 } })],
    ([g]) => {
      // d/dx = s + x s (1 - s) = s + y - y s
      const s = sigmoid(x);
      return [mul(g!, add(s, sub(y!, mul(y!, s))))];
    },
  ) as [Tensor];
  return y;
}

/** `x / sqrt(mean(x^2) + epsilon) * weight` over the last axis, of x [..., D], weight [D]. */
export function rmsNorm(x: Tensor, weight: Tensor, epsilon: number): Tensor {
  const [size] = weight.shape as [number];
  const rows = ["R", size] as const;
  const [y] = x.tape.record(
    [x, weight],
    [x.shape],
    ({ graph }, inputs) => [
      graph.node("SimplifiedLayerNormalization", inputs, { attributes: { axis: -1 }, floats: { epsilon } }),
    ],
    ([g]) => {
      // With r = 1 / sqrt(...) of a row: dx = r g w - x r^3 mean(g w x), dw = sum of r g x over the rows.
      const r = inverseNorm(x, size, epsilon);
      const product = reshape(mul(g!, x), rows);
      const mean = scale(matMul(product, reshape(weight, [size, 1])), 1 / size);
      const pull = mul(mul(reshape(mean, r.shape), r), mul(r, r));
      const dx = sub(mul(mul(g!, weight), r), mul(x, pull));
      const dw = matMul(reshape(r, ["R", 1]), product, { transA: true });
      return [dx, reshape(dw, [size])];
    },
  ) as [Tensor];
  return y;
}

/**
 * 1 / sqrt(mean(x^2) + epsilon) of each row, [..., 1]. The operator would give it as a second output, but not on every
 * engine. Only ever part of a gradient: it has none itself.
 */
function inverseNorm(x: Tensor, size: number, epsilon: number): Tensor {
  const [result] = x.tape.record(
    [x],
    [x.shape.with(-1, 1)],
    ({ graph }, [value]) => {
      const squares = graph.node("ReduceSumSquare", [value!, graph.constant("i64", [-1])]);
      const mean = graph.node("Mul", [squares, graph.constant("f32", [1 / size], [])]);
      const root = graph.node("Sqrt", [graph.node("Add", [mean, graph.constant("f32", [epsilon], [])])]);
      return [graph.node("Reciprocal", [root])];
    },
    noGradient,
  ) as [Tensor];
  return result;
}

/**
 * Depthwise causal convolution, `y_t = bias + sum_w weight[w] x_{t+w-W}`: x [B, T, C], past [B, W, C] (the inputs before
 * x, oldest first), weight [C, 1, W+1], bias [C].
 */
export function causalConvolution(x: Tensor, past: Tensor, weight: Tensor, bias: Tensor | null): Tensor {
  const [channels, , taps] = weight.shape as [number, number, number];
  const width = taps - 1;
  const inputs = [x, weight, ...(bias ? [bias] : []), ...(past.isZero ? [] : [past])];
  const [y] = x.tape.record(
    inputs,
    [x.shape],
    ({ graph }, values) => {
      const [data, kernel] = values as [(typeof values)[0], (typeof values)[0]];
      const added = bias ? values[2]! : null;
      const before = past.isZero ? null : values.at(-1)!;
      const attributes = { ndim: 1, channels_last: 1, activation: "none" };
      const [result] = graph.nodes("CausalConvWithState", [data, kernel, added, before], 2, { ...contrib, attributes });
      return [result!];
    },
    ([g]) => {
      // Of past and x in a row, position j takes part in y_{j-w} with weight[w]: a convolution with the taps reversed.
      const spread = pad(g!, 1, 0, width);
      const ofRow = causalConvolution(spread, past.tape.zeros(past.shape), reverse(weight, 2), null);
      const row = past.isZero ? pad(x, 1, width, 0) : concat([past, x], 1);
      const ofTaps = Array.from({ length: taps }, (_, w) =>
        reshape(sum(mul(trim(row, 1, w, width - w), g!), [0, 1]), [channels, 1, 1]),
      );
      const ofBias = bias ? [reshape(sum(g!, [0, 1]), [channels])] : [];
      if (past.isZero) return [trim(ofRow, 1, width, 0), concat(ofTaps, 2), ...ofBias];
      const [ofPast, ofX] = split(ofRow, 1, [width, x.shape[1]!]) as [Tensor, Tensor];
      return [ofX, concat(ofTaps, 2), ...ofBias, ofPast];
    },
  ) as [Tensor];
  return y;
}

/**
 * `-log softmax(logits)[target]` of each row, in nats: logits [M, V], targets [M, 1] (integers), result [M, 1].
 */
export function crossEntropy(logits: Tensor, targets: Tensor): Tensor {
  const [loss, powers, totals] = logits.tape.record(
    [logits, targets],
    [targets.shape, logits.shape, targets.shape],
    ({ graph }, [scores, target]) => {
      const axis = graph.constant("i64", [1]);
      const shifted = graph.node("Sub", [scores!, graph.node("ReduceMax", [scores!, axis])]);
      const exponentials = graph.node("Exp", [shifted]);
      const total = graph.node("ReduceSum", [exponentials, axis]);
      const picked = graph.node("GatherElements", [shifted, target!], { attributes: { axis: 1 } });
      return [graph.node("Sub", [graph.node("Log", [total]), picked]), exponentials, total];
    },
    // softmax, less 1 at the target, times g.
    ([g]) => [addElements(mul(powers!, mul(g!, reciprocal(totals!))), targets, neg(g!))],
  ) as [Tensor, Tensor, Tensor];
  return loss;
}

/** Adds `updates` [M, 1] to one element of each row of x [M, V]. Only ever a gradient: it has none itself. */
function addElements(x: Tensor, columns: Tensor, updates: Tensor): Tensor {
  const [result] = x.tape.record(
    [x, columns, updates],
    [x.shape],
    ({ graph }, values) => [graph.node("ScatterElements", values, { attributes: { axis: 1, reduction: "add" } })],
    noGradient,
  ) as [Tensor];
  return result;
}

/**
 * Rows of x [R, D] by their numbers, none of them twice, R for a row of zeros: rows [M], result [M, D]. `places` [R] says
 * for each row of x where it stands in the result, M for those that do not: the gradient is a choice of rows, too.
 */
export function pickRows(x: Tensor, rows: Tensor, places: Tensor): Tensor {
  const size = x.shape.at(-1)!;
  const [result] = x.tape.record(
    [pad(x, 0, 0, 1), rows],
    [[rows.shape[0]!, size]],
    ({ graph }, inputs) => [graph.node("Gather", inputs, { attributes: { axis: 0 } })],
    ([g]) => [pad(pickRows(g!, places, rows), 0, 0, 1)],
  ) as [Tensor];
  return result;
}

/** Of what is only ever a gradient. */
function noGradient(): never {
  throw new Error("gradients of these gradients are not there");
}
