/** The chunked scan against the recurrence written out in float64, and its gradient against finite differences. */
import { describe, expect, test } from "vitest";
import { Random } from "../../evaluate/random.js";
import { distance } from "../test-support.js";
import { jit, np, type Tensor, vjp } from "./jax.js";
import { chunkedScan, type ScanShape } from "./scan.js";

const shape: ScanShape = { groups: 2, heads: 4, headDim: 3, stateSize: 5 };
const batch = 2;

interface Inputs {
  tokens: number;
  c: Float64Array;
  b: Float64Array;
  value: Float64Array;
  logA: Float64Array;
  past: Float64Array;
}

/** `strength` is the mean log decay a token; every fifth token decays by it twenty times over. */
function randomInputs(tokens: number, strength: number): Inputs {
  const random = Random.of(7, tokens);
  const { groups, heads, headDim, stateSize } = shape;
  const draw = (size: number, f = () => random.float() * 2 - 1) =>
    Float64Array.from({ length: size }, f).map(Math.fround);
  return {
    tokens,
    c: draw(batch * tokens * groups * stateSize),
    b: draw(batch * tokens * groups * stateSize),
    value: draw(batch * tokens * heads * headDim),
    logA: draw(batch * tokens * heads, () => -strength * random.float() * (random.below(5) === 0 ? 20 : 1)),
    past: draw(batch * heads * stateSize * headDim),
  };
}

function recurrence({ tokens, c, b, value, logA, past }: Inputs): { output: Float64Array; present: Float64Array } {
  const { groups, heads, headDim, stateSize } = shape;
  const state = past.slice();
  const output = new Float64Array(batch * tokens * heads * headDim);
  for (let i = 0; i < batch; i++) {
    for (let t = 0; t < tokens; t++) {
      for (let h = 0; h < heads; h++) {
        const decay = Math.exp(logA[(i * tokens + t) * heads + h]!);
        const group = ((i * tokens + t) * groups + Math.floor((h * groups) / heads)) * stateSize;
        for (let p = 0; p < headDim; p++) {
          const at = ((i * tokens + t) * heads + h) * headDim + p;
          for (let n = 0; n < stateSize; n++) {
            const s = ((i * heads + h) * stateSize + n) * headDim + p;
            state[s] = decay * state[s]! + b[group + n]! * value[at]!;
            output[at]! += c[group + n]! * state[s]!;
          }
        }
      }
    }
  }
  return { output, present: state };
}

const tensor = (values: Float64Array, ...dims: number[]) => np.array(Float32Array.from(values)).reshape(dims);

function tensors({ tokens, c, b, value, logA, past }: Inputs) {
  const { groups, heads, headDim, stateSize } = shape;
  return {
    c: tensor(c, batch, tokens, groups * stateSize),
    b: tensor(b, batch, tokens, groups * stateSize),
    value: tensor(value, batch, tokens, heads * headDim),
    logA: tensor(logA, batch, tokens, heads),
    past: tensor(past, batch, heads, stateSize, headDim),
  };
}

async function run(inputs: Inputs, chunk: number, fromZero = false) {
  const f = jit((x: ReturnType<typeof tensors>) => chunkedScan({ ...x, past: fromZero ? null : x.past }, shape, chunk));
  const { output, present } = f(tensors(inputs));
  return { output: await output.data(), present: await present.data() };
}

describe.each([
  ["weak decay", 0.02, 2e-6],
  ["decay to e^-400 over the sequence", 1, 2e-6],
  // A sum of logs is off by 2^-24 of its chunk's total, here up to 10^4: more than float32 products are.
  ["decay to e^-400 within a few tokens", 20, 1e-5],
])("%s", (_, strength, tolerance) => {
  test.each([
    [1, 8],
    [8, 8],
    [16, 8],
    [37, 8],
    [100, 16],
    [37, 64],
  ])("%i tokens in chunks of %i", async (tokens, chunk) => {
    const inputs = randomInputs(tokens, strength);
    const expected = recurrence(inputs);
    const found = await run(inputs, chunk);
    expect(distance(found.output, expected.output)).toBeLessThan(tolerance);
    expect(distance(found.present, expected.present)).toBeLessThan(tolerance);
  });
});

test("from the zero state", async () => {
  const inputs = randomInputs(37, 0.1);
  inputs.past.fill(0);
  const expected = recurrence(inputs);
  for (const chunk of [8, 64]) {
    const found = await run(inputs, chunk, true);
    expect(distance(found.output, expected.output)).toBeLessThan(2e-6);
    expect(distance(found.present, expected.present)).toBeLessThan(2e-6);
  }
});

test.each([8, 64])("gradients agree with central differences of the recurrence, chunks of %i", async (chunk) => {
  const inputs = randomInputs(20, 0.5);
  const random = Random.of(3);
  const weigh = (size: number) => Float64Array.from({ length: size }, () => random.float() - 0.5);
  const weights = recurrence(inputs);
  weights.output = weigh(weights.output.length);
  weights.present = weigh(weights.present.length);
  const total = (x: Inputs) => {
    const { output, present } = recurrence(x);
    const sum = (a: Float64Array, w: Float64Array) => a.reduce((all, value, i) => all + value * w[i]!, 0);
    return sum(output, weights.output) + sum(present, weights.present);
  };

  type Arguments = ReturnType<typeof tensors>;
  const gradient = jit((x: Arguments, cotangent: { output: Tensor; present: Tensor }) => {
    const [, pullBack] = vjp((y: Arguments) => chunkedScan(y, shape, chunk), [x]);
    return (pullBack(cotangent) as [Arguments])[0];
  });
  const { heads, headDim, stateSize } = shape;
  const found = gradient(tensors(inputs), {
    output: tensor(weights.output, batch, inputs.tokens, heads * headDim),
    present: tensor(weights.present, batch, heads, stateSize, headDim),
  });
  for (const name of ["c", "b", "value", "logA", "past"] as const) {
    const step = 1e-5;
    const expected = inputs[name].map((value, i, all) => {
      const at = (x: number) => {
        all[i] = x;
        const result = total(inputs);
        all[i] = value;
        return result;
      };
      return (at(value + step) - at(value - step)) / (2 * step);
    });
    expect(distance(await found[name].data(), expected), name).toBeLessThan(5e-6);
  }
});
