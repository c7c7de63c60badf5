import { readFile } from "node:fs/promises";
import { describe, expect, it } from "vitest";
import { PicasoError } from "../../errors.js";
import { decodeValues } from "../../state/codec.js";
import { generateKernel } from "./build.js";
import { WeightedSum, type WeightedSumJob, weightedSum } from "./weighted-sum.js";

const fround = Math.fround;

/** Values of many sizes and both signs, the same in every run. */
function values(length: number, seed: number): Float32Array {
  return Float32Array.from({ length }, (_, i) => Math.sin(i * 12.9898 + seed * 78.233) * 10 ** ((i + seed) % 7));
}

/** The job's result by its definition, in the same order of float32 operations. */
function reference({ inputs, weights, blockLength, out }: WeightedSumJob): Float32Array {
  const floats = inputs.map((input) =>
    input instanceof Float32Array ? input : decodeValues("bf16", new Uint8Array(input.slice().buffer)),
  );
  const n = inputs.length;
  return out.map((_, i) => {
    const weight = (k: number) => weights[Math.floor(i / blockLength) * n + k]!;
    let sum = fround(weight(0) * floats[0]![i]!);
    for (let k = 1; k < n; k++) sum = fround(sum + fround(weight(k) * floats[k]![i]!));
    return sum;
  });
}

function makeJob(n: number, blocks: number, blockLength: number, bf16 = false): WeightedSumJob {
  const length = blocks * blockLength;
  const floats = Array.from({ length: n }, (_, k) => values(length, k));
  const halves = () => floats.map((array) => Uint16Array.from(new Uint32Array(array.buffer), (bits) => bits >>> 16));
  return {
    inputs: bf16 ? halves() : floats,
    weights: values(blocks * n, 99).map((value) => value / 1e6),
    blockLength,
    out: new Float32Array(length).fill(NaN),
  };
}

const bits = (array: Float32Array) => new Uint32Array(array.buffer, array.byteOffset, array.length);

/** Compares bit by bit and names the first difference; a diff of whole arrays would take minutes to print. */
function expectSameBits(actual: Float32Array, expected: Float32Array): void {
  expect(actual.length).toBe(expected.length);
  const [a, b] = [bits(actual), bits(expected)];
  const at = a.findIndex((value, i) => value !== b[i]);
  expect(at === -1 ? "equal" : `element ${at}: ${actual[at]} for ${expected[at]}`).toBe("equal");
}

describe.each([false, true])("weighted sum, bf16 %s", (bf16) => {
  it.each([
    [1, 1, 1],
    [1, 3, 5],
    [2, 7, 16],
    [3, 5, 17],
    [4, 2, 31],
    [5, 1, 1000],
    [6, 40, 3],
    [11, 3, 130],
    [23, 2, 64],
  ])(
    "%d inputs, %d blocks of %d elements: the same bits as the definition, for all tile sizes",
    (n, blocks, length) => {
      const job = makeJob(n, blocks, length, bf16);
      const expected = reference(job);
      for (const [tile, group] of [
        [7, 1],
        [16, 2],
        [33, 3],
        [64, 5],
        [4096, 64],
        [undefined, undefined],
      ]) {
        job.out.fill(NaN);
        new WeightedSum(tile, group).run(job);
        expectSameBits(job.out, expected);
      }
    },
  );

  it("more elements than a tile, more inputs than a group, at the real sizes", () => {
    const job = makeJob(7, 3, 60_000, bf16);
    weightedSum(job);
    expectSameBits(job.out, reference(job));
  });

  it("inputs and result at odd places of larger buffers", () => {
    const job = makeJob(3, 4, 100, bf16);
    const expected = reference(job);
    const inputs = job.inputs.map((input, k) => {
      const buffer = new ArrayBuffer(8192 + input.byteLength);
      const View = input.constructor as Float32ArrayConstructor;
      const moved = new View(buffer, 4 * (37 * k + 1), input.length);
      moved.set(input);
      return moved;
    });
    const surrounding = new Float32Array(410).fill(5);
    const out = surrounding.subarray(3, 403);
    weightedSum({ ...job, inputs, out });
    expectSameBits(out, expected);
    expect([...surrounding.subarray(0, 3), ...surrounding.subarray(403)]).toEqual(Array(10).fill(5));
  });

  it("a range of blocks leaves the others alone", () => {
    const job = makeJob(3, 6, 50, bf16);
    const expected = reference(job);
    const [first, second] = [new WeightedSum(64, 2), new WeightedSum(64, 2)];
    first.run(job, 1, 4);
    expectSameBits(job.out.subarray(50, 200), expected.subarray(50, 200));
    expect([...job.out.subarray(0, 50), ...job.out.subarray(200)].every(Number.isNaN)).toBe(true);
    second.run(job, 4, 6);
    first.run(job, 0, 1);
    expectSameBits(job.out, expected);
  });
});

it("keeps infinities, NaN and the sign of zero", () => {
  const inputs = [Float32Array.of(Infinity, -Infinity, NaN, -0, 0), Float32Array.of(1, Infinity, 1, -0, -0)];
  const out = new Float32Array(5);
  weightedSum({ inputs, weights: Float32Array.of(1, 1), blockLength: 5, out });
  expect([...out]).toEqual([Infinity, NaN, NaN, -0, 0]);
});

it("widens every finite bf16 value exactly", () => {
  const all = Uint16Array.from({ length: 65536 }, (_, i) => i).filter((b) => (b & 0x7f80) !== 0x7f80);
  const out = new Float32Array(all.length);
  weightedSum({ inputs: [all], weights: Float32Array.of(1), blockLength: all.length, out });
  expectSameBits(out, new Float32Array(Uint32Array.from(all, (b) => b << 16).buffer));
});

describe("bad jobs", () => {
  const good = makeJob(2, 3, 4);
  it.each<[string, Partial<WeightedSumJob>, RegExp]>([
    ["no inputs", { inputs: [] }, /inputs: expected one or more/],
    ["an input that is too short", { inputs: [new Float32Array(12), new Float32Array(11)] }, /input 1: .* found 11/],
    ["too few weights", { weights: new Float32Array(5) }, /weights: expected 6 values, found 5/],
    ["broken blocks", { blockLength: 5 }, /whole blocks of 5/],
    ["blocks of nothing", { blockLength: 0 }, /whole blocks of 0/],
  ])("%s", (_, change, message) => {
    const run = () => weightedSum({ ...good, ...change });
    expect(run).toThrow(PicasoError);
    expect(run).toThrow(message);
  });

  it.each([
    [-1, 2],
    [0, 4],
    [0.5, 2],
    [0, NaN],
  ])("blocks %d to %d", (from, to) => {
    expect(() => new WeightedSum(16, 1).run(good, from, to)).toThrow(/blocks: expected whole numbers from 0 to 3/);
  });
});

it("the committed module is what the source compiles to", async () => {
  const committed = await readFile(new URL("./kernel.generated.ts", import.meta.url), "utf8");
  expect(await generateKernel()).toBe(committed);
});
