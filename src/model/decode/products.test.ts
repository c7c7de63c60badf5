/** The decoder's norm and products against plain loops in float64 that round where the kernels say that they round. */
import { expect, test } from "vitest";
import { dequantizeRows } from "../../../test/support/dequantize.js";
import { relativeError } from "../../../test/support/golden.js";
import { blockSizeOf, blocksOf, type QuantizedDtype, quantizeRows, type WeightDtype } from "../quantize.js";
import { decodeBase64 } from "./decode.generated.js";
import { instantiate } from "./decode-thread.js";
import { chunkRows, float, STEP_BYTES, type Step, writeSteps } from "./steps.js";

const epsilon = 1e-5;

/** Values of both signs, the same in every run; one in sixteen is four times as large as the others. */
function values(length: number, seed: number): Float32Array {
  const random = (i: number) => (Math.sin(i * 12.9898 + (seed + 1) * 78.233) * 43758.5453) % 1;
  return Float32Array.from({ length }, (_, i) => random(i) * (i % 16 === 3 ? 4 : 1));
}

function normalized(x: Float32Array, weight: Float32Array): Float32Array {
  const squares = x.reduce((sum, value) => sum + value * value, 0);
  return x.map((value, i) => (value / Math.sqrt(squares / x.length + epsilon)) * weight[i]!);
}

/** Each block in whole steps, 127 of which are its largest magnitude. */
function rounded(x: Float32Array): Float32Array {
  const size = blockSizeOf(x.length);
  return x.map((value, i) => {
    const begin = i - (i % size);
    const step = x.subarray(begin, begin + size).reduce((most, v) => Math.max(most, Math.abs(v)), 0) / 127;
    return Math.round(value / step) * step;
  });
}

function multiplied(matrix: Float32Array, x: Float32Array, bias: Float32Array | null, onto: Float32Array | null) {
  return Float64Array.from({ length: matrix.length / x.length }, (_, row) =>
    x.reduce((sum, value, i) => sum + value * matrix[row * x.length + i]!, (bias?.[row] ?? 0) + (onto?.[row] ?? 0)),
  );
}

/** Runs a norm and a product as the recorder writes them, on this thread alone. */
function run(dtype: WeightDtype, rows: number, columns: number, withBias: boolean, addTo: Float32Array | null) {
  const memory = new WebAssembly.Memory({ initial: 64, maximum: 64, shared: true });
  let end = 256;
  const put = (array: Float32Array | Uint8Array | number) => {
    const address = Math.ceil(end / 64) * 64;
    end = address + (typeof array === "number" ? array : array.byteLength);
    if (array instanceof Float32Array) new Float32Array(memory.buffer).set(array, address / 4);
    else if (typeof array !== "number") new Uint8Array(memory.buffer).set(array, address);
    return address;
  };
  const [x, weight, matrix, bias] = [columns, columns, rows * columns, rows].map(values) as [
    Float32Array,
    Float32Array,
    Float32Array,
    Float32Array,
  ];
  const quantized = dtype === "f32" ? null : quantizeRows(matrix, columns, dtype);
  const [size, blocks] = quantized ? [blockSizeOf(columns), blocksOf(columns)] : [0, columns];
  const form = { f32: 0, q8: 1, q4: 2 }[dtype];
  const input = put(Math.max(4 * columns, blocks * (32 + 2 * size)));
  const room = put(4 * Math.max(columns, blocks * size));
  const out = put(addTo ?? new Float32Array(rows));
  const chunk = chunkRows(rows);
  const steps: Step[] = [
    { kind: "norm", chunks: 1, args: [put(x), put(weight), columns, float(epsilon), form, size, input, room] },
    {
      kind: "product",
      chunks: Math.ceil(rows / chunk),
      args: [
        ...[form, put(quantized?.codes ?? matrix), quantized ? put(quantized.scales) : 0, input, blocks, size],
        ...[rows, chunk, withBias ? put(bias) : 0, out, addTo ? 1 : 0],
      ],
    },
  ];
  const stepsAt = put(steps.length * STEP_BYTES);
  writeSteps(steps, new Int32Array(memory.buffer, stepsAt, (steps.length * STEP_BYTES) / 4));
  const module = new WebAssembly.Module(Buffer.from(decodeBase64, "base64"));
  expect(instantiate({ module, memory }).run(0, stepsAt, end, 1)).toBe(1 + steps[1]!.chunks);

  const read = normalized(x, weight);
  const expected = quantized
    ? multiplied(
        dequantizeRows(quantized, columns, dtype as QuantizedDtype),
        rounded(read),
        withBias ? bias : null,
        addTo,
      )
    : multiplied(matrix, read, withBias ? bias : null, addTo);
  return { found: new Float32Array(memory.buffer, out, rows), expected };
}

// Blocks of 128, 64 and 32, a last block that is cut short; rows that are no whole chunks, and fewer than four.
const shapes = [
  [64, 256],
  [294, 48],
  [3, 100],
  [1, 7],
  [133, 192],
] as const;

test.each((["f32", "q8", "q4"] as const).flatMap((dtype) => shapes.map((shape) => [dtype, ...shape] as const)))(
  "%s, %i rows of %i",
  (dtype, rows, columns) => {
    for (const withBias of [false, true]) {
      for (const addTo of [null, values(rows, 9)]) {
        const { found, expected } = run(dtype, rows, columns, withBias, addTo);
        expect(relativeError(found, expected)).toBeLessThan(1e-6);
      }
    }
  },
);
