import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { PicasoError } from "../errors.js";
import { readSafetensors } from "../state/safetensors.js";
import { nodesNeeded, picasoS } from "./picaso-s.js";
import { type CompositionMethod, compositionMethods, compositionWeights, meanWeights } from "./weights.js";

/** Largest relative difference between the weights and their reference, zero where both are zero. */
function relativeError(actual: readonly Float64Array[], expected: readonly (readonly number[])[]): number {
  expect(actual.map((values) => values.length)).toEqual(expected.map((values) => values.length));
  let worst = 0;
  for (const [k, values] of expected.entries()) {
    for (const [i, value] of values.entries()) {
      const difference = Math.abs(actual[k]![i]! - value);
      worst = Math.max(worst, difference === 0 ? 0 : difference / Math.abs(value));
    }
  }
  return worst;
}

/** Decays of each context at one element, as lists for `compositionWeights`. */
const column = (logDecays: readonly number[]) => logDecays.map((value) => Float64Array.of(value));

function weightsAt(logDecays: readonly number[], method: CompositionMethod): number[] {
  return compositionWeights(column(logDecays), method).map((values) => values[0]!);
}

/** Numbers in [0, 1), the same in every run. */
function generator(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}

/** From nearly no decay to e^-400. */
function randomLogDecays(n: number, random: () => number): number[] {
  return Array.from({ length: n }, () => -(10 ** (random() * 14.6 - 12)));
}

const fixture = readFileSync(new URL("../../test/fixtures/golden-weights.safetensors", import.meta.url));
const golden = readSafetensors(fixture, "golden-weights");
function goldenRows(name: string): number[][] {
  const { begin, end, shape } = golden.tensors.get(name)!;
  const values = new Float64Array(new Uint8Array(fixture.subarray(begin, end)).buffer);
  return Array.from({ length: shape[0]! }, (_, k) => [...values.subarray(k * shape[1]!, (k + 1) * shape[1]!)]);
}

describe("golden weights", () => {
  for (const n of [1, 2, 3, 4, 5, 6, 7, 8]) {
    it.each(compositionMethods)(`%s of ${n}`, (method) => {
      const logDecays = goldenRows(`n${n}.logdecay`).map((row) => Float64Array.from(row));
      expect(relativeError(compositionWeights(logDecays, method), goldenRows(`n${n}.${method}`))).toBeLessThan(1e-12);
    });
  }
});

describe("brute force over orders", () => {
  function* permutations(items: number[]): Generator<number[]> {
    if (items.length === 0) yield [];
    for (const [i, first] of items.entries()) {
      for (const rest of permutations(items.filter((_, j) => j !== i))) yield [first, ...rest];
    }
  }
  const rotations = (n: number) =>
    Array.from({ length: n }, (_, r) => Array.from({ length: n }, (_, i) => (r + i) % n));

  /** CASO's weights by its definition, averaged over the orders. */
  function meanOverOrders(logDecays: number[], orders: number[][]): number[] {
    const sums = logDecays.map(() => 0);
    for (const order of orders) {
      for (const [place, k] of order.entries()) {
        sums[k]! += order.slice(place + 1).reduce((product, j) => product * Math.exp(logDecays[j]!), 1);
      }
    }
    return sums.map((sum) => sum / orders.length);
  }

  const special = [0, -1e-12, -400, -Infinity, -0];
  const random = generator(7);
  for (let n = 1; n <= 6; n++) {
    const everyOrder = [...permutations(Array.from({ length: n }, (_, i) => i))];
    const inputs = Array.from({ length: 12 }, () => randomLogDecays(n, random));
    inputs.push(
      ...inputs.map((values) => values.map((v) => (random() < 0.5 ? v : special[Math.floor(random() * 5)]!))),
    );
    it.each<[CompositionMethod, number[][]]>([
      ["caso", [everyOrder[0]!]],
      ["picaso-r", rotations(n)],
      ["picaso-s", everyOrder],
    ])(`%s of ${n}`, (method, orders) => {
      for (const input of inputs) {
        const expected = meanOverOrders(input, orders).map((value) => [value]);
        expect(relativeError(compositionWeights(column(input), method), expected)).toBeLessThan(1e-13);
      }
    });
  }
});

describe("large n", () => {
  // Numbers with 200 bits after the point, in BigInt.
  const bits = 200n;
  const one = 1n << bits;
  const fixed = (value: number) => BigInt(Math.floor(value * 2 ** 200));
  const toNumber = (value: bigint) => Number(value) / 2 ** 200;

  /**
   * W_k of PICASO-S by the means of products over all m-subsets of the other contexts, in fixed point; adding a context
   * to s others: mean_m' = ((s+1-m) mean_m + m A mean_{m-1}) / (s+1).
   */
  function exactPicasoS(decays: number[], k: number): number {
    const others = decays.filter((_, j) => j !== k).map(fixed);
    const means = [one];
    for (const [s, decay] of others.entries()) {
      const size = BigInt(s + 1);
      means.push(0n);
      for (let m = s + 1; m > 0; m--) {
        means[m] = (means[m]! * (size - BigInt(m)) + ((means[m - 1]! * decay) >> bits) * BigInt(m)) / size;
      }
    }
    return toNumber(means.reduce((sum, value) => sum + value, 0n) / BigInt(decays.length));
  }

  function exactPicasoR(decays: number[], k: number): number {
    let product = one;
    let sum = one;
    for (let m = 1; m < decays.length; m++) {
      product = (product * fixed(decays[(k + m) % decays.length]!)) >> bits;
      sum += product;
    }
    return toNumber(sum / BigInt(decays.length));
  }

  const random = generator(11);
  const cases: [string, number, (i: number) => number][] = [
    ["decays of every size", 300, () => -(10 ** (random() * 14.6 - 12))],
    ["mostly weak decays", 300, () => -0.01 * random()],
    ["few strong ones among none", 300, (i) => (i % 50 === 0 ? -30 : 0)],
    ["weak decays", 1000, () => -0.005 * random()],
  ];
  it.each(cases)("against fixed-point arithmetic: %s, %d contexts", (_, n, logDecay) => {
    const logDecays = Array.from({ length: n }, (_, i) => logDecay(i));
    const decays = logDecays.map(Math.exp);
    const s = weightsAt(logDecays, "picaso-s");
    const r = weightsAt(logDecays, "picaso-r");
    for (const k of [0, 1, Math.floor(n / 3), n - 1]) {
      if (k < 2) expect(Math.abs(s[k]! / exactPicasoS(decays, k) - 1)).toBeLessThan(1e-12);
      expect(Math.abs(r[k]! / exactPicasoR(decays, k) - 1)).toBeLessThan(1e-12);
    }
  });

  const equal = [0, -1e-12, -1e-6, -0.001, -0.1, -1, -20, -400, -Infinity];
  it.each([2, 3, 47, 48, 100, 1000, 3000])("equal decays, closed form (1 - A^n) / (n (1 - A)), %d contexts", (n) => {
    for (const logDecay of equal) {
      const ratio = Math.expm1(n * logDecay) / (n * Math.expm1(logDecay));
      const expected = logDecay === 0 ? 1 : ratio;
      for (const method of ["picaso-r", "picaso-s"] as const) {
        const weights = weightsAt(Array<number>(n).fill(logDecay), method);
        for (const weight of weights) expect(Math.abs(weight / expected - 1)).toBeLessThan(1e-12);
      }
    }
  });

  it("the reduced number of nodes gives the weights of the exact number", () => {
    for (const n of [49, 60, 100, 400, 1000]) {
      expect(nodesNeeded(n)).toBeLessThan(Math.ceil(n / 2));
      for (const strength of [1e-6, 1 / n, 0.1, 1, 1e6]) {
        const logDecays = Float64Array.from({ length: n }, () => -strength * random());
        const reduced = new Float64Array(n);
        const exact = new Float64Array(n);
        picasoS(n)(logDecays, reduced);
        picasoS(n, Math.ceil(n / 2))(logDecays, exact);
        expect(relativeError([reduced], [[...exact]])).toBeLessThan(3e-13);
        // A check that can fail: with a third of the nodes the difference shows.
        if (strength !== 1) continue;
        picasoS(n, Math.ceil(nodesNeeded(n) / 3))(logDecays, reduced);
        expect(relativeError([reduced], [[...exact]])).toBeGreaterThan(3e-13);
      }
    }
    expect(nodesNeeded(1000)).toBe(109);
  });
});

describe("what the formulas promise", () => {
  const random = generator(3);
  const inputs = [1, 2, 3, 7, 20, 150, 1000].map((n) => randomLogDecays(n, random));

  it("n = 1 gives a weight of exactly 1", () => {
    for (const method of compositionMethods) {
      for (const logDecay of [0, -1e-12, -3, -400, -Infinity]) expect(weightsAt([logDecay], method)).toEqual([1]);
    }
  });

  it("n = 2 makes R and S equal", () => {
    for (let i = 0; i < 100; i++) {
      const pair = randomLogDecays(2, random);
      expect(
        relativeError([Float64Array.from(weightsAt(pair, "picaso-r"))], [weightsAt(pair, "picaso-s")]),
      ).toBeLessThan(1e-14);
    }
  });

  it("no decay gives the plain sum, total decay the mean", () => {
    for (const n of [1, 2, 5, 64, 1000]) {
      for (const method of ["caso", "picaso-r", "picaso-s"] as const) {
        for (const weight of weightsAt(Array(n).fill(0), method)) expect(Math.abs(weight - 1)).toBeLessThan(1e-13);
        if (method === "caso") continue;
        for (const weight of weightsAt(Array(n).fill(-Infinity), method)) {
          expect(Math.abs(weight * n - 1)).toBeLessThan(1e-12);
        }
      }
      expect(weightsAt(Array(n).fill(-Infinity), "caso")).toEqual(
        Array.from({ length: n }, (_, k) => (k < n - 1 ? 0 : 1)),
      );
      expect(weightsAt(Array(n).fill(-5), "soup")).toEqual(Array(n).fill(1 / n));
    }
  });

  it("PICASO-S follows every permutation, PICASO-R every rotation", () => {
    for (const input of inputs) {
      const n = input.length;
      const order = Array.from({ length: n }, (_, i) => i);
      for (let i = n - 1; i > 0; i--) {
        const j = Math.floor(random() * (i + 1));
        [order[i], order[j]] = [order[j]!, order[i]!];
      }
      const shift = Math.floor(random() * n);
      const rotation = Array.from({ length: n }, (_, i) => (i + shift) % n);
      for (const [method, places] of [
        ["picaso-s", order],
        ["picaso-r", rotation],
      ] as const) {
        const weights = weightsAt(input, method);
        const moved = weightsAt(
          places.map((k) => input[k]!),
          method,
        );
        expect(relativeError([Float64Array.from(moved)], [places.map((k) => weights[k]!)])).toBeLessThan(1e-12);
      }
    }
  });

  it("PICASO's weights lie between 1/n and 1", () => {
    for (const input of inputs) {
      for (const method of ["picaso-r", "picaso-s"] as const) {
        for (const weight of weightsAt(input, method)) {
          expect(weight).toBeGreaterThan((1 - 1e-12) / input.length);
          expect(weight).toBeLessThan(1 + 1e-12);
        }
      }
    }
  });

  it("elements do not mix, and float32 decays are read as they are", () => {
    const decays = [0, 1, 2].map(() => Float32Array.from(randomLogDecays(40, random)));
    for (const method of compositionMethods) {
      const weights = compositionWeights(decays, method);
      for (let i = 0; i < 40; i++) {
        expect(weights.map((values) => values[i])).toEqual(
          weightsAt(
            decays.map((values) => values[i]!),
            method,
          ),
        );
      }
    }
  });
});

it("meanWeights averages over the elements of each context", () => {
  expect(meanWeights([Float64Array.of(1, 0.5), Float64Array.of(0.25, 0.25)])).toEqual([0.75, 0.25]);
});

describe("bad input", () => {
  const good = Float64Array.of(-1, -2);
  it.each<[string, Float64Array[], string, RegExp]>([
    ["no contexts", [], "soup", /contexts: expected one or more, found none/],
    ["lengths that differ", [good, Float64Array.of(-1)], "caso", /context 1: expected 2 values.* found 1/],
    ["NaN", [good, Float64Array.of(-1, NaN)], "picaso-s", /context 1, value 1: .* found NaN/],
    ["a positive decay", [Float64Array.of(1e-300, 0)], "picaso-r", /context 0, value 0: .* found 1e-300/],
    ["a positive decay where it does not matter", [Float64Array.of(Infinity)], "soup", /found Infinity/],
    ["an unknown method", [good], "mean", /method: expected soup, caso, picaso-r, picaso-s, found mean/],
    ["a method named like a property", [good], "toString", /found toString/],
  ])("%s", (_, logDecays, method, message) => {
    const run = () => compositionWeights(logDecays, method as CompositionMethod);
    expect(run).toThrow(PicasoError);
    expect(run).toThrow(message);
  });
});
