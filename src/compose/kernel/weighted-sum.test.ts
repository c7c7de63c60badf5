import { readFile } from "node:fs/promises";
import { describe, expect, it } from "vitest";
import { PicasoError } from "../../errors.js";
import { type Codec, codecNames, decodeValues, encodeValues } from "../../state/codec.js";
import { quantizeRows } from "../../state/int8.js";
import { generateKernel, kernels } from "./build.js";
import { floatTerm, type Term, type WeightedSumJob } from "./job.js";
import { WeightedSum, weightedSum, workspaceBytes } from "./weighted-sum.js";

const fround = Math.fround;

/** Values of many sizes and both signs, the same in every run. */
function values(length: number, seed: number): Float32Array {
  return Float32Array.from({ length }, (_, i) => Math.sin(i * 12.9898 + seed * 78.233) * 10 ** ((i + seed) % 7));
}

/** Inputs as a codec stores them, and the float32 numbers that are multiplied with the weights. */
function makeTerm(codec: Codec, array: Float32Array, width: number): Term {
  if (codec === "f32") return { ...floatTerm(array), width };
  if (codec === "bf16") return { codec, values: encodeValues("bf16", array), scales: null, width };
  const { numbers, scales } = quantizeRows(array, width);
  return { codec, values: new Uint8Array(numbers.buffer), scales: new Uint8Array(scales.buffer), width };
}

/** The job's result by its definition, in the same order of float32 operations. */
function reference({ terms, weights, blockLength, out }: WeightedSumJob): Float32Array {
  const n = terms.length;
  const bytes = (part: Term["values"] | null) => (part === null ? new Uint8Array(0) : (part as Uint8Array).slice());
  const numbers = terms.map(({ codec, values }) =>
    codec === "int8" ? Float32Array.from(new Int8Array(bytes(values).buffer)) : decodeValues(codec, bytes(values)),
  );
  const scales = terms.map(({ scales }) => new Float32Array(bytes(scales).buffer));
  return out.map((_, i) => {
    const weight = (k: number) => {
      const { codec, width } = terms[k]!;
      const scale = codec === "int8" ? scales[k]![Math.floor(i / width)]! : 1;
      return fround(weights[Math.floor(i / blockLength) * n + k]! * scale);
    };
    let sum = fround(weight(0) * numbers[0]![i]!);
    for (let k = 1; k < n; k++) sum = fround(sum + fround(weight(k) * numbers[k]![i]!));
    return sum;
  });
}

function makeJob(n: number, blocks: number, blockLength: number, codec: Codec, width = blockLength): WeightedSumJob {
  const length = blocks * blockLength;
  return {
    terms: Array.from({ length: n }, (_, k) => makeTerm(codec, values(length, k), width)),
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

describe.each(codecNames)("weighted sum, %s", (codec) => {
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
    [4, 6, 48, 16],
    [7, 3, 66, 33],
    [2, 2, 70, 1],
  ])(
    "%d terms, %d blocks of %d elements: the same bits as the definition, for all tile sizes",
    (n, blocks, length, width = length) => {
      const job = makeJob(n, blocks, length, codec, width);
      const expected = reference(job);
      for (const [tile, group] of [
        [7, 1],
        [16, 2],
        [33, 3],
        [64, 5],
        [4096, 64],
        [undefined, undefined],
      ]) {
        if (tile !== undefined && tile < width) continue;
        job.out.fill(NaN);
        expect(new WeightedSum({ tile, group }).run(job).finite).toBe(true);
        expectSameBits(job.out, expected);
      }
    },
  );

  it("more elements than a tile, more terms than a group, at the real sizes", () => {
    const job = makeJob(7, 3, 60_000, codec, 60);
    weightedSum(job);
    expectSameBits(job.out, reference(job));
  });

  it("inputs and result at odd places of larger buffers", () => {
    const job = makeJob(3, 4, 100, codec);
    const expected = reference(job);
    const terms = job.terms.map((term, k) => {
      const values = term.values as Uint8Array;
      const moved = new Uint8Array(new ArrayBuffer(8192 + values.length), 4 * (37 * k + 1), values.length);
      moved.set(values);
      return { ...term, values: moved };
    });
    const surrounding = new Float32Array(410).fill(5);
    const out = surrounding.subarray(3, 403);
    weightedSum({ ...job, terms, out });
    expectSameBits(out, expected);
    expect([...surrounding.subarray(0, 3), ...surrounding.subarray(403)]).toEqual(Array(10).fill(5));
  });

  it("inputs and result in the kernel's memory, at odd places, are summed in place", () => {
    const job = makeJob(7, 5, 70, codec, 70);
    const expected = reference(job);
    const memory = new WebAssembly.Memory({ initial: 100, maximum: 100, shared: true });
    let at = 64 + workspaceBytes();
    const place = (part: Uint8Array) => {
      at += 12;
      const address = at;
      new Uint8Array(memory.buffer).set(part, address);
      at += part.length;
      return { address, byteLength: part.length };
    };
    const terms = job.terms.map((term) => ({
      ...term,
      values: place(term.values as Uint8Array),
      scales: term.scales && place(term.scales as Uint8Array),
    }));
    const out = place(new Uint8Array(job.out.byteLength));
    const kernel = new WeightedSum({ workspace: { memory, address: 64 } });
    expect(kernel.run({ ...job, terms, out }).finite).toBe(true);
    expectSameBits(new Float32Array(memory.buffer.slice(out.address, at)), expected);
    // The same into an array, from one term in place and others brought in.
    kernel.run({ ...job, terms: [...terms.slice(0, 3), ...job.terms.slice(3)] });
    expectSameBits(job.out, expected);
  });

  it("a range of blocks leaves the others alone", () => {
    const job = makeJob(3, 6, 50, codec);
    const expected = reference(job);
    const [first, second] = [new WeightedSum({ tile: 64, group: 2 }), new WeightedSum({ tile: 64, group: 2 })];
    first.run(job, 1, 4);
    expectSameBits(job.out.subarray(50, 200), expected.subarray(50, 200));
    expect([...job.out.subarray(0, 50), ...job.out.subarray(200)].every(Number.isNaN)).toBe(true);
    second.run(job, 4, 6);
    first.run(job, 0, 1);
    expectSameBits(job.out, expected);
  });
});

it("keeps infinities, NaN and the sign of zero", () => {
  const terms = [
    [Infinity, -Infinity, NaN, -0, 0],
    [1, Infinity, 1, -0, -0],
  ].map((v) => floatTerm(Float32Array.from(v)));
  const out = new Float32Array(5);
  weightedSum({ terms, weights: Float32Array.of(1, 1), blockLength: 5, out });
  expect([...out]).toEqual([Infinity, NaN, NaN, -0, 0]);
});

it("widens every finite bf16 value exactly", () => {
  const all = Uint16Array.from({ length: 65536 }, (_, i) => i).filter((b) => (b & 0x7f80) !== 0x7f80);
  const out = new Float32Array(all.length);
  const term: Term = { codec: "bf16", values: new Uint8Array(all.buffer), scales: null, width: 1 };
  weightedSum({ terms: [term], weights: Float32Array.of(1), blockLength: all.length, out });
  expectSameBits(out, new Float32Array(Uint32Array.from(all, (b) => b << 16).buffer));
});

describe("bad jobs", () => {
  const good = makeJob(2, 3, 4, "f32", 1);
  const rows = makeJob(2, 3, 4, "int8");
  const short = floatTerm(new Float32Array(11));
  const inFile = { fd: 0, begin: 0, byteLength: 48, dataEnd: 48 };
  it.each<[string, Partial<WeightedSumJob>, RegExp]>([
    ["no terms", { terms: [] }, /terms: expected one or more/],
    ["a term that is too short", { terms: [good.terms[0]!, short] }, /term 1: .* found 11/],
    ["terms of two codecs", { terms: [good.terms[0]!, rows.terms[0]!] }, /term 1: expected f32 .* found int8/],
    ["too few scales", { terms: [{ ...rows.terms[0]!, scales: new Uint8Array(8) }] }, /term 0: expected 3 scales/],
    ["scales where none belong", { terms: [{ ...good.terms[0]!, scales: new Uint8Array(8) }] }, /expected 0 scales/],
    ["rows across blocks", { terms: [makeTerm("int8", new Float32Array(12), 3)] }, /whole rows of 3/],
    [
      "a file without a reader",
      { terms: [{ ...good.terms[0]!, values: inFile }], weights: new Float32Array(3) },
      /no reader/,
    ],
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
    expect(() => new WeightedSum({ tile: 16, group: 1 }).run(good, from, to)).toThrow(
      /blocks: expected whole numbers from 0 to 3/,
    );
  });
});

it("rows longer than a tile are refused", () => {
  const job = makeJob(1, 1, 33, "int8");
  expect(() => new WeightedSum({ tile: 32 }).run(job)).toThrow(/at most 32 values, found 33/);
});

describe.each(codecNames)("values that are not finite, %s", (codec) => {
  it.each([
    [0, 0],
    [17, 1],
    [39, 2],
  ])("value %d of term %d", (at, k) => {
    const job = makeJob(3, 2, 20, codec, 20);
    const { values, scales } = job.terms[k]!;
    if (codec === "int8") new Float32Array((scales as Uint8Array).buffer)[Math.floor(at / 20)] = NaN;
    else if (codec === "f32") new Float32Array((values as Uint8Array).buffer)[at] = -Infinity;
    else new Uint16Array((values as Uint8Array).buffer)[at] = 0x7f80;
    for (const group of [1, 2, 5]) expect(new WeightedSum({ tile: 32, group }).run(job).finite).toBe(false);
  });
});

it.each(kernels)("the committed $constant is what its source compiles to", async (kernel) => {
  expect(await generateKernel(kernel)).toBe(await readFile(kernel.generated, "utf8"));
});
