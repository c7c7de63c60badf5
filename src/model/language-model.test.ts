/** One way to read tokens equals another: at once, in pieces, in batches, from a state. Golden data is in test/. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type GoldenName, goldenVocabulary, makeGoldenFolder, relativeError } from "../../test/support/golden.js";
import { randomTokens } from "../../test/support/random-tokens.js";
import { useScratch } from "../../test/support/scratch.js";
import { ContextState } from "../state/context-state.js";
import { LanguageModel } from "./language-model.js";

/** Different sums of the same float32 terms. */
const tolerance = 1e-5;

const scratch = useScratch();

describe.each<GoldenName>(["golden-g1", "golden-g2"])("%s", (name) => {
  let model: LanguageModel;
  const tokens = (count: number, seed = 1) => randomTokens(count, goldenVocabulary[name], seed);
  beforeAll(async () => {
    model = await LanguageModel.load(await makeGoldenFolder(name, scratch.path(name)), { threads: 1 });
  });
  afterAll(() => model?.dispose());

  function expectSame(found: ContextState, expected: ContextState): void {
    expect(found.tokens).toBe(expected.tokens);
    expect(found.fingerprint).toBe(expected.fingerprint);
    for (const part of ["ssm", "conv", "logDecay"] as const) {
      expect(relativeError(found[part], expected[part]), part).toBeLessThan(tolerance);
    }
  }

  describe("reading in one pass", () => {
    test("equals reading token by token", async () => {
      const ids = tokens(40);
      const whole = await model.forward(ids, { logits: "all" });
      let state = model.zeroState();
      const logits: number[] = [];
      for (const id of ids) {
        const step = await model.forward([id], { state });
        logits.push(...step.logits);
        state = step.state;
      }
      expectSame(state, whole.state);
      expect(relativeError(logits, whole.logits)).toBeLessThan(tolerance);
    });

    test.each([1, 2, 3, 20, 38, 39])(
      "equals reading %i tokens, storing the state, and reading the rest",
      async (cut) => {
        const ids = tokens(40);
        const whole = await model.forward(ids);
        const first = await model.encode(ids.slice(0, cut));
        const stored = ContextState.fromBytes(first.toBytes("f32"));
        const rest = await model.forward(ids.slice(cut), { state: stored });
        expectSame(rest.state, whole.state);
        expect(relativeError(rest.logits, whole.logits)).toBeLessThan(tolerance);
      },
    );

    test("equals reading in pieces where it takes several segments", async () => {
      const ids = tokens(1300);
      const whole = await model.forward(ids, { logits: "all" });
      let state = model.zeroState();
      const logits: number[] = [];
      for (let start = 0; start < ids.length; start += 100) {
        const step = await model.forward(ids.slice(start, start + 100), { state, logits: "all" });
        for (const value of step.logits) logits.push(value);
        state = step.state;
      }
      expectSame(whole.state, state);
      expect(relativeError(whole.logits, logits)).toBeLessThan(tolerance);
      expect((await model.forward(ids)).logits).toEqual(whole.logits.slice(-model.config.vocabSize));
    });

    test("of no tokens leaves the state as it is", async () => {
      const state = await model.encode(tokens(5));
      expectSame((await model.forward([], { state, logits: "none" })).state, state);
      const nothing = await model.encode([]);
      expectSame(nothing, model.zeroState());
      expect(nothing.logDecay.every((value) => value === 0)).toBe(true);
    });
  });

  describe("many at once", () => {
    const lengths = [7, 0, 600, 1, 64, 0, 512, 3, 513, 2, 130, 1, 1300, 90];

    test("give the states that they give one by one", async () => {
      const contexts = lengths.map((length, i) => tokens(length, i));
      const states = await model.encodeMany(contexts);
      expect(states.map((state) => state.tokens)).toEqual(lengths);
      for (const [i, context] of contexts.entries()) expectSame(states[i]!, await model.encode(context));
    });

    test("read from states of their own", async () => {
      const states = await model.encodeMany(lengths.map((_, i) => tokens(4 + i, 100 + i)));
      const contexts = lengths.map((length, i) => tokens(length, i));
      const together = await model.readMany(contexts.map((ids, i) => ({ tokens: ids, state: states[i]! })));
      for (const [i, ids] of contexts.entries()) {
        expectSame(together[i]!, (await model.forward(ids, { state: states[i]!, logits: "none" })).state);
      }
    });

    test("report the tokens read, padding left out", async () => {
      let total = 0;
      await model.encodeMany(
        lengths.map((length) => tokens(length)),
        { onTokens: (count) => (total += count) },
      );
      expect(total).toBe(lengths.reduce((a, b) => a + b, 0));
    });

    test("are none for none", async () => {
      expect(await model.encodeMany([])).toEqual([]);
      expect(await model.score([])).toEqual([]);
    });

    test("can be stopped between runs", async () => {
      const control = new AbortController();
      const run = model.encodeMany(
        lengths.map((length) => tokens(length)),
        { signal: control.signal, onTokens: () => control.abort() },
      );
      await expect(run).rejects.toMatchObject({ code: "aborted" });
    });
  });

  describe("losses", () => {
    /** -log softmax(logits)[target] of each row, in float64. */
    async function byHand(ids: number[], from: number, state = model.zeroState()): Promise<number[]> {
      const { logits } = await model.forward(ids, { state, logits: "all" });
      const { vocabSize } = model.config;
      return ids.slice(from).map((target, i) => {
        const row = Array.from(logits.slice((from - 1 + i) * vocabSize, (from + i) * vocabSize));
        const largest = Math.max(...row);
        return largest + Math.log(row.reduce((sum, logit) => sum + Math.exp(logit - largest), 0)) - row[target]!;
      });
    }

    test.each([
      [2, 1],
      [30, 1],
      [30, 29],
      [700, 600],
      [1300, 1],
      [1300, 513],
    ])("of %i tokens from token %i on are those of the logits", async (count, from) => {
      const ids = tokens(count);
      const [losses] = await model.score([{ tokens: ids, from }]);
      expect(losses).toHaveLength(count - from);
      expect(relativeError(losses!, await byHand(ids, from))).toBeLessThan(tolerance);
    });

    test("of many sequences, some from states, are those of each", async () => {
      const state = await model.encode(tokens(50, 9));
      const requests = [
        { tokens: tokens(20, 1), state },
        { tokens: tokens(21, 2) },
        { tokens: tokens(600, 3), state, from: 550 },
        { tokens: tokens(1, 4), state },
        { tokens: [] },
        { tokens: tokens(5, 5), from: 5 },
        { tokens: tokens(5, 6), from: 99 },
      ];
      const losses = await model.score(requests);
      expect(losses.map((list) => list.length)).toEqual([19, 20, 50, 0, 0, 0, 0]);
      for (const i of [0, 1, 2]) {
        const { tokens: ids, state, from = 1 } = requests[i]!;
        expect(relativeError(losses[i]!, await byHand(ids, from, state))).toBeLessThan(tolerance);
      }
    });

    test("of tokens that the vocabulary lacks are refused, the last one's too", async () => {
      for (const ids of [
        [1, 2, model.config.vocabSize],
        [1, 2, -1],
        [1, 0.5, 2],
        [1, Number.NaN],
      ]) {
        await expect(model.score([{ tokens: ids }])).rejects.toMatchObject({ code: "bad-argument" });
      }
      await expect(model.score([{ tokens: [1, 2], from: 0 }])).rejects.toMatchObject({ code: "bad-argument" });
    });
  });

  test("never writes to the states it is given", async () => {
    const state = await model.encode(tokens(10));
    const before = state.toBytes("f32");
    await model.forward(tokens(3), { state });
    await model.forward(tokens(700), { state, logits: "none" });
    await model.score([{ tokens: tokens(9), state }, { tokens: tokens(4) }]);
    await model.readMany([
      { tokens: tokens(9), state },
      { tokens: [], state },
      { tokens: tokens(2), state },
    ]);
    for await (const _ of model.generate([5], { state, maxTokens: 6 }));
    await model.generateMany([{ tokens: [5], state }], { maxTokens: 6 });
    await model.generateMany(
      [
        { tokens: [5], state },
        { tokens: [6, 7], state },
      ],
      { maxTokens: 6 },
    );
    expect(Buffer.compare(state.toBytes("f32"), before)).toBe(0);
  });

  test("a state given back stays as it is while the model goes on", async () => {
    const { state } = await model.forward(tokens(3));
    const before = state.toBytes("f32");
    for (let i = 0; i < 3; i++) await model.forward(tokens(3), { state });
    await model.encodeMany([tokens(3), tokens(5)]);
    expect(Buffer.compare(state.toBytes("f32"), before)).toBe(0);
  });
});

describe("what does not fit the model", () => {
  let model: LanguageModel;
  beforeAll(async () => {
    model = await LanguageModel.load(await makeGoldenFolder("golden-g1", scratch.path("model")), { threads: 1 });
  });
  afterAll(() => model?.dispose());

  test.each([[[-1]], [[288]], [[0.5]], [[Number.NaN]], [["1"]], [[undefined]]])("tokens %j", async (ids) => {
    const strange = [1, ...ids] as number[];
    const refusal = { code: "bad-argument", message: expect.stringContaining("tokens[1]") };
    await expect(model.encode(strange)).rejects.toMatchObject(refusal);
    await expect(model.forward(strange)).rejects.toMatchObject(refusal);
    await expect(model.encodeMany([[1], strange])).rejects.toMatchObject(refusal);
  });

  test("a state of another model, named with both fingerprints", async () => {
    const state = ContextState.zero("0123456789abcdef", model.stateShape);
    const message = expect.stringMatching(new RegExp(`${model.fingerprint}.*0123456789abcdef`));
    await expect(model.forward([1], { state })).rejects.toMatchObject({ code: "mismatch", message });
    await expect(model.score([{ tokens: [1, 2], state }])).rejects.toMatchObject({ code: "mismatch" });
  });

  test("a state of another shape", async () => {
    const state = ContextState.zero(model.fingerprint, { ...model.stateShape, layers: 2 });
    await expect(model.forward([1], { state })).rejects.toMatchObject({ code: "mismatch" });
  });

  test("no tokens to predict after", async () => {
    await expect(model.forward([])).rejects.toMatchObject({ code: "bad-argument" });
    await expect(model.forward([], { logits: "all" })).resolves.toMatchObject({ logits: new Float32Array(0) });
  });

  test("options that do not exist", async () => {
    const load = (options: object) => LanguageModel.load(scratch.path("model"), options);
    await expect(load({ dtype: "f64" })).rejects.toMatchObject({ code: "bad-argument" });
    await expect(load({ device: "abacus" })).rejects.toMatchObject({ code: "bad-argument" });
    await expect(load({ threads: 0 })).rejects.toMatchObject({ code: "bad-argument" });
    await expect(model.forward([1], { logits: "some" as "all" })).rejects.toMatchObject({ code: "bad-argument" });
  });

  test("use after dispose", async () => {
    const other = await LanguageModel.load(scratch.path("model"), { threads: 1 });
    await other.dispose();
    await other.dispose();
    const refusal = { code: "bad-argument", message: expect.stringContaining("disposed") };
    await expect(other.forward([1])).rejects.toMatchObject(refusal);
    await expect(other.generate([1]).next()).rejects.toMatchObject(refusal);
  });
});
