import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { PicasoError } from "../errors.js";
import { ContextState, type StateShape, stateSizes } from "../state/context-state.js";
import { readSafetensors } from "../state/safetensors.js";
import { compose } from "./compose.js";
import { type CompositionMethod, compositionMethods, compositionWeights } from "./weights.js";

describe.each(["golden-g1", "golden-g2"])("%s", (name) => {
  const file = readFileSync(new URL(`../../test/fixtures/${name}/golden.safetensors`, import.meta.url));
  const { tensors } = readSafetensors(file, name);

  /** The state stored under a prefix, in float64; ssm brought from [L, H, P, N] to [L, H, N, P]. */
  function golden(prefix: string) {
    const read = (key: string) => {
      const { begin, end, shape } = tensors.get(`${prefix}.${key}`)!;
      return { shape, values: new Float64Array(new Uint8Array(file.subarray(begin, end)).buffer) };
    };
    const [ssm, conv, logDecay] = [read("ssm"), read("conv"), read("logdecay")];
    const [layers, heads, headDim, stateSize] = ssm.shape as [number, number, number, number];
    const shape: StateShape = { layers, heads, stateSize, headDim, convWidth: conv.shape[1]!, convDim: conv.shape[2]! };
    const block = headDim * stateSize;
    const transposed = ssm.values.map((_, i) => {
      const [p, n] = [i % headDim, Math.floor((i % block) / headDim)];
      return ssm.values[i - (i % block) + p * stateSize + n]!;
    });
    return { shape, ssm: transposed, conv: conv.values, logDecay: logDecay.values };
  }

  function context(k: number): ContextState {
    const { shape, ssm, conv, logDecay } = golden(`ctx${k}`);
    return new ContextState({
      fingerprint: name,
      shape,
      tokens: tensors.get(`ctx${k}.ids`)!.shape[0]!,
      ssm: Float32Array.from(ssm),
      conv: Float32Array.from(conv),
      logDecay,
    });
  }

  const contexts = [0, 1, 2, 3].map(context);

  /** Largest difference in units of float32 rounding of the summed magnitudes, which bounds what rounding can do. */
  function roundings(actual: Float32Array, expected: Float64Array, terms: Float32Array[]): number {
    let worst = 0;
    for (let i = 0; i < actual.length; i++) {
      const magnitude = terms.reduce((sum, term) => sum + Math.abs(term[i]!), 0) * 2 ** -24;
      const difference = Math.abs(actual[i]! - expected[i]!);
      worst = Math.max(worst, difference === 0 ? 0 : difference / magnitude);
    }
    return worst;
  }

  it("the memory of a composed state can be reused, with equal bits; that of a state being composed cannot", () => {
    const expected = compose(contexts, "picaso-r");
    const old = compose(contexts.slice(1), "soup");
    const again = compose(contexts, "picaso-r", { reuse: old });
    expect(again).toEqual(expected);
    expect(again.ssm).toBe(old.ssm);
    expect(() => compose(contexts, "soup", { reuse: contexts[2] })).toThrow(/the memory of one that is composed/);
    const shape = { ...old.shape, layers: old.shape.layers + 1 };
    expect(() => compose(contexts, "soup", { reuse: ContextState.zero(name, shape) })).toThrow(/state to reuse/);
  });

  for (const n of [1, 2, 3, 4]) {
    it.each(compositionMethods)(`%s of ${n} contexts`, (method) => {
      const states = contexts.slice(0, n);
      const expected = golden(`${method}.${n}`);
      const state = compose(states, method);
      expect(state.shape).toEqual(expected.shape);
      // One rounding each for the input, the weight and the product, and n - 1 for the sum.
      expect(
        roundings(
          state.ssm,
          expected.ssm,
          states.map((s) => s.ssm),
        ),
      ).toBeLessThan(n + 2);
      expect(
        roundings(
          state.conv,
          expected.conv,
          states.map((s) => s.conv),
        ),
      ).toBeLessThan(n + 2);
      for (const [i, value] of expected.logDecay.entries()) {
        expect(Math.abs(state.logDecay[i]! - value)).toBeLessThanOrEqual(1e-13 * Math.abs(value));
      }
      expect(state.logDecay).toBeInstanceOf(Float64Array);
      expect(state.tokens).toBe([12, 19, 39, 42][n - 1]);
      expect(state.fingerprint).toBe(name);
    });
  }
});

const shape: StateShape = { layers: 3, heads: 5, stateSize: 9, headDim: 7, convWidth: 3, convDim: 11 };

/** A state like no other with another seed, the same in every run. */
function makeState(seed: number, change: Partial<ContextState> = {}): ContextState {
  const size = stateSizes(shape);
  const wave = (i: number) => Math.sin(i * 12.9898 + seed * 78.233);
  return new ContextState({
    fingerprint: "model-a",
    shape,
    tokens: 10 + seed,
    ssm: Float32Array.from({ length: size.ssm }, (_, i) => wave(i) * 10 ** ((i + seed) % 5)),
    conv: Float32Array.from({ length: size.conv }, (_, i) => wave(i + 0.5)),
    logDecay: Float64Array.from({ length: size.logDecay }, (_, i) => -Math.abs(wave(i + 0.25)) * 10 ** ((i % 4) - 2)),
    ...change,
  });
}

function shuffled<T>(items: readonly T[], seed: number): T[] {
  const keys = new Map(items.map((item, i) => [item, Math.sin((i + 1) * 99.7 * seed)]));
  return [...items].sort((a, b) => keys.get(a)! - keys.get(b)!);
}

const sameBits = (a: ContextState, b: ContextState) => {
  for (const key of ["ssm", "conv", "logDecay"] as const) {
    const bytes = [a, b].map((state) => Buffer.from(state[key].buffer, state[key].byteOffset, state[key].byteLength));
    if (Buffer.compare(bytes[0]!, bytes[1]!) !== 0) return false;
  }
  return a.tokens === b.tokens;
};

describe("order of the contexts", () => {
  const states = Array.from({ length: 13 }, (_, i) => makeState(i));

  it.each<CompositionMethod>(["soup", "picaso-s"])("%s gives the same bits for every order", (method) => {
    const expected = compose(states, method);
    for (const seed of [1, 2, 3, 4, 5]) expect(sameBits(compose(shuffled(states, seed), method), expected)).toBe(true);
  });

  it("picaso-r gives the same bits for every rotation, and another state for other orders", () => {
    const expected = compose(states, "picaso-r");
    for (let r = 1; r < states.length; r++) {
      expect(sameBits(compose([...states.slice(r), ...states.slice(0, r)], "picaso-r"), expected)).toBe(true);
    }
    expect(sameBits(compose(shuffled(states, 1), "picaso-r"), expected)).toBe(false);
  });

  it("holds with equal states, and with equal decays of different states", () => {
    const { logDecay } = states[0]!;
    const twins = [makeState(1, { logDecay }), makeState(2, { logDecay }), makeState(1, { logDecay }), states[3]!];
    twins.push(
      twins[1]!,
      makeState(3, { logDecay, conv: twins[0]!.conv }),
      makeState(4, { logDecay, conv: twins[0]!.conv }),
    );
    for (const method of ["soup", "picaso-s"] as const) {
      const expected = compose(twins, method);
      for (const seed of [1, 2, 3]) expect(sameBits(compose(shuffled(twins, seed), method), expected)).toBe(true);
    }
    const expected = compose(twins, "picaso-r");
    for (let r = 1; r < twins.length; r++) {
      expect(sameBits(compose([...twins.slice(r), ...twins.slice(0, r)], "picaso-r"), expected)).toBe(true);
    }
  });

  it("caso depends on it and takes the last convolution state", () => {
    const composed = compose(states, "caso");
    expect(composed.conv).toEqual(states[12]!.conv);
    expect(sameBits(compose([...states].reverse(), "caso"), composed)).toBe(false);
  });
});

describe("compose", () => {
  it.each(compositionMethods)("%s of one state gives equal values in new arrays", (method) => {
    const state = makeState(3, { ssm: makeState(3).ssm.map((value, i) => (i === 0 ? -0 : value)) });
    const composed = compose([state], method);
    expect(sameBits(composed, state)).toBe(true);
    expect(composed.ssm.buffer).not.toBe(state.ssm.buffer);
    expect(composed.conv.buffer).not.toBe(state.conv.buffer);
    expect(composed.logDecay.buffer).not.toBe(state.logDecay.buffer);
  });

  it.each(compositionMethods)("%s is the sum by its weights, in the order given", (method) => {
    const states = Array.from({ length: 9 }, (_, i) => makeState(i));
    const weights = compositionWeights(
      states.map((state) => state.logDecay),
      method,
    );
    const composed = compose(states, method);
    const block = shape.stateSize * shape.headDim;
    for (let i = 0; i < composed.ssm.length; i++) {
      const terms = states.map((state, k) => weights[k]![Math.floor(i / block)]! * state.ssm[i]!);
      const magnitude = terms.reduce((sum, term) => sum + Math.abs(term), 0);
      const exact = terms.reduce((sum, term) => sum + term, 0);
      expect(Math.abs(composed.ssm[i]! - exact)).toBeLessThanOrEqual(11 * 2 ** -24 * magnitude);
    }
  });

  it("caso joins like concatenation: composing composed states gives the same", () => {
    const states = Array.from({ length: 6 }, (_, i) => makeState(i));
    const whole = compose(states, "caso");
    const parts = compose([compose(states.slice(0, 2), "caso"), compose(states.slice(2), "caso")], "caso");
    expect(parts.tokens).toBe(whole.tokens);
    expect(parts.conv).toEqual(whole.conv);
    for (const [i, value] of whole.logDecay.entries()) expect(parts.logDecay[i]! / value).toBeCloseTo(1, 12);
    const magnitude = Math.max(...whole.ssm.map(Math.abs));
    for (const [i, value] of whole.ssm.entries())
      expect(Math.abs(parts.ssm[i]! - value)).toBeLessThan(1e-6 * magnitude);
  });

  it("reads float32 decays and states that are views of files", () => {
    const state = makeState(1, { logDecay: Float32Array.from(makeState(1).logDecay) });
    const stored = ContextState.fromBytes(state.toBytes());
    expect(sameBits(compose([stored, makeState(2)], "picaso-s"), compose([state, makeState(2)], "picaso-s"))).toBe(
      true,
    );
  });

  it("leaves its inputs alone", () => {
    const states = [makeState(0), makeState(1)];
    compose(states, "picaso-s");
    expect(sameBits(states[0]!, makeState(0)) && sameBits(states[1]!, makeState(1))).toBe(true);
  });

  it("of a model without convolution states", () => {
    const bare = { ...shape, convWidth: 0 };
    const states = [1, 2].map((seed) => makeState(seed, { shape: bare, conv: new Float32Array(0) }));
    expect(compose(states, "soup").conv).toHaveLength(0);
  });
});

describe("bad input", () => {
  const wide = { ...shape, headDim: 14 };
  const cases: [string, ContextState[], string, string, RegExp][] = [
    ["no states", [], "soup", "bad-argument", /contexts: expected one or more/],
    ["an unknown method", [makeState(1)], "mean", "bad-argument", /method: expected soup/],
    [
      "another model",
      [makeState(1), makeState(2), makeState(3, { fingerprint: "model-b" })],
      "soup",
      "mismatch",
      /state 2: expected a state of model model-a .* found one of model model-b/,
    ],
    [
      "another shape",
      [makeState(1), makeState(2, { shape: wide, ssm: new Float32Array(2 * 945) })],
      "caso",
      "mismatch",
      /state 1: .* L3 H5 N9 P7 .* found .* L3 H5 N9 P14/,
    ],
    [
      "a decay above one",
      [makeState(1), makeState(1, { logDecay: new Float64Array(15).fill(1) }), makeState(2)],
      "soup",
      "bad-argument",
      /log decays of context 1, value 0/,
    ],
  ];
  it.each(cases)("%s", (_, states, method, code, message) => {
    let error: unknown;
    try {
      compose(states, method as CompositionMethod);
    } catch (caught) {
      error = caught;
    }
    expect(error).toBeInstanceOf(PicasoError);
    expect((error as PicasoError).code).toBe(code);
    expect((error as PicasoError).message).toMatch(message);
  });
});
