/** The decoder against ONNX Runtime's way through the same model, against golden data, and against itself. */
import { spawn } from "node:child_process";
import { readFile, truncate } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { editConfig } from "../../../test/support/folder-changes.js";
import { Golden, type GoldenName, makeGoldenFolder, relativeError } from "../../../test/support/golden.js";
import { randomTokens } from "../../../test/support/random-tokens.js";
import { useScratch } from "../../../test/support/scratch.js";
import { compose } from "../../compose/compose.js";
import type { ContextState } from "../../state/context-state.js";
import { compiledFolder } from "../compile.js";
import { parseMamba2Config } from "../config.js";
import { LanguageModel } from "../language-model.js";
import type { WeightDtype } from "../quantize.js";
import { Decoder, type StateOwner } from "./decoder.js";
import { GENERATION, planDecoding, TOKEN } from "./plan.js";
import { STEP_BYTES } from "./steps.js";

const scratch = useScratch();
const names = ["golden-g1", "golden-g2"] as const;
const dtypes = ["f32", "q8", "q4"] as const;

/** Reads tokens one by one through the decoder; gives the logits after each, one behind the other. */
async function decoded(model: LanguageModel, tokens: readonly number[], state: ContextState): Promise<number[]> {
  const advance = model.continueFrom([state]);
  const logits: number[] = [];
  for (const token of tokens) logits.push(...(await advance([{ tokens: [token], rows: [0] }]))[0]!.logits);
  return logits;
}

/** The same through ONNX Runtime, and the state behind them. */
async function forwarded(model: LanguageModel, tokens: readonly number[], state: ContextState) {
  const logits: number[] = [];
  for (const token of tokens) {
    const step = await model.forward([token], { state });
    logits.push(...step.logits);
    ({ state } = step);
  }
  return { logits, state };
}

async function openDecoder(name: GoldenName, dtype: WeightDtype, threads: number) {
  const folder = await makeGoldenFolder(name, scratch.path(name));
  const model = await LanguageModel.load(folder, { dtype, threads: 1 });
  const weightsPath = join(compiledFolder(model.fingerprint, dtype), "weights.bin");
  const decoder = (await Decoder.load({ weightsPath, config: model.config, dtype, threads }))!;
  return { model, decoder, weightsPath };
}

/** A state that decodes by itself, for tests below the model. */
class Owner implements StateOwner {
  readonly logDecay: Float64Array;
  constructor(readonly state: ContextState) {
    this.logDecay = Float64Array.from(state.logDecay);
  }
  moveTo({ ssm, conv }: { ssm: Float32Array; conv: Float32Array }): void {
    ssm.set(this.state.ssm);
    conv.set(this.state.conv);
  }
  takeBack({ ssm, conv }: { ssm: Float32Array; conv: Float32Array }): void {
    this.state.ssm.set(ssm);
    this.state.conv.set(conv);
  }
  async read(decoder: Decoder, tokens: readonly number[]): Promise<number[]> {
    const logits: number[] = [];
    for (const token of tokens) {
      await decoder.read(this, token, (all, logDecay) => {
        logits.push(...all);
        for (const [i, value] of logDecay.entries()) this.logDecay[i]! += value;
      });
    }
    return logits;
  }
}

describe.each(names)("%s", (name) => {
  let golden: Golden;
  let model: LanguageModel;
  beforeAll(async () => {
    golden = await Golden.read(name);
    model = await LanguageModel.load(await makeGoldenFolder(name, scratch.path(`${name}-f32`)), { threads: 2 });
  });
  afterAll(() => model?.dispose());

  test.each([1, 2, 5, 37, 100])("golden logits of %i tokens", async (count) => {
    const logits = await decoded(model, golden.values(`T${count}.ids`), model.zeroState());
    expect(relativeError(logits, golden.values(`T${count}.logits`))).toBeLessThan(1e-5);
  });

  test("golden states", async () => {
    const { model: own, decoder } = await openDecoder(name, "f32", 1);
    for (const reference of ["T1", "T5", "T37", "T100"]) {
      const owner = new Owner(own.zeroState());
      await owner.read(decoder, golden.values(`${reference}.ids`));
      decoder.release(owner);
      expect(relativeError(owner.state.ssm, golden.ssm(reference))).toBeLessThan(1e-5);
      expect(relativeError(owner.state.conv, golden.values(`${reference}.conv`))).toBeLessThan(1e-5);
      expect(relativeError(owner.logDecay, golden.values(`${reference}.logdecay`))).toBeLessThan(1e-5);
    }
    await Promise.all([own.dispose(), decoder.dispose()]);
  });

  test("golden logits of the query from each composed state", async () => {
    const methods = ["soup", "caso", "picaso-s", "picaso-r"].flatMap((method) =>
      [1, 2, 3, 4].map((n) => `${method}.${n}`),
    );
    for (const reference of [...methods, "concat.4"]) {
      const logits = await decoded(model, golden.values("query.ids"), golden.state(reference, model));
      expect(relativeError(logits, golden.values(`${reference}.logits`)), reference).toBeLessThan(1e-5);
    }
  });
});

/** In f32 the two differ by the order of sums alone. */
const order = 1e-5;

/**
 * In 8 and 4 bits both round activations by one rule and multiply integers, so that they agree as in f32, except where an
 * activation that differs in its last bits lies on the border between two codes. Then one of K activations is another
 * code, and for as long as the state remembers it no more can be asked than that the two differ by less than the
 * rounding itself: a step of 3 standard deviations / 127, evenly spread, in each of the model's products.
 */
const rounding = (layers: number) => (3 / 127 / Math.sqrt(12)) * Math.sqrt(2 * layers + 2);

/** Share of tokens, each read from the same state, at which no activation may change its code. */
const leastExact = 0.8;

describe.each(names.flatMap((name) => dtypes.map((dtype) => [name, dtype] as const)))("%s in %s", (name, dtype) => {
  let model: LanguageModel;
  beforeAll(async () => {
    model = await LanguageModel.load(await makeGoldenFolder(name, scratch.path(name)), { dtype, threads: 2 });
  });
  afterAll(() => model?.dispose());
  const tokens = randomTokens(150, 200, 5);

  const bound = () => (dtype === "f32" ? order : rounding(model.config.layers));

  test("is what ONNX Runtime gives over many tokens, from the zero state and from a composed one", async () => {
    const contexts = await model.encodeMany([randomTokens(20, 200, 6), randomTokens(33, 200, 7)]);
    for (const state of [model.zeroState(), compose(contexts, "picaso-r")]) {
      const expected = await forwarded(model, tokens, state);
      const logits = await decoded(model, tokens, state);
      expect(relativeError(logits, expected.logits)).toBeLessThan(bound());
    }
  });

  test("is what ONNX Runtime gives for a token, but for activations on the border of two codes", async () => {
    let state = model.zeroState();
    let exact = 0;
    for (const token of tokens) {
      const expected = await model.forward([token], { state });
      const error = relativeError(await decoded(model, [token], state), expected.logits);
      expect(error).toBeLessThan(bound());
      if (error < order) exact++;
      ({ state } = expected);
    }
    expect(exact).toBeGreaterThan(leastExact * tokens.length);
  });

  test("hands the state back and takes it again as it is", async () => {
    const advance = model.continueFrom([model.zeroState()]);
    const pieces = [tokens.slice(0, 9), [tokens[9]!], [tokens[10]!], tokens.slice(11, 18), [tokens[18]!]];
    let state = model.zeroState();
    for (const piece of pieces) {
      const [found] = await advance([{ tokens: piece, rows: [piece.length - 1] }]);
      const expected = await model.forward(piece, { state });
      expect(relativeError(found!.logits, expected.logits)).toBeLessThan(bound());
      ({ state } = expected);
    }
  });

  test("keeps sequences that decode in turns apart", async () => {
    const states = await model.encodeMany([randomTokens(4, 200, 8), randomTokens(9, 200, 9)]);
    const apart = await Promise.all(states.map((state) => decoded(model, tokens.slice(0, 20), state)));
    const advances = states.map((state) => model.continueFrom([state]));
    const inTurns: number[][] = [[], []];
    for (const token of tokens.slice(0, 20)) {
      const steps = await Promise.all(advances.map((advance) => advance([{ tokens: [token], rows: [0] }])));
      for (const [i, predictions] of steps.entries()) inTurns[i]!.push(...predictions[0]!.logits);
    }
    expect(inTurns).toEqual(apart);
  });
});

test.each(dtypes)("any number of threads gives the same bits in %s", async (dtype) => {
  const tokens = randomTokens(60, 200, 10);
  const results: unknown[] = [];
  for (const threads of [1, 2, 3]) {
    const { model, decoder } = await openDecoder("golden-g2", dtype, threads);
    // Others take part once they have begun.
    for (const warm = new Owner(model.zeroState()); threads > 1 && decoder.chunksShared === 0; ) {
      await warm.read(decoder, [1]);
    }
    const owner = new Owner(model.zeroState());
    const logits = await owner.read(decoder, tokens);
    decoder.release(owner);
    const { ssm, conv } = owner.state;
    results.push({ logits, ssm, conv, logDecay: owner.logDecay });
    await Promise.all([model.dispose(), decoder.dispose()]);
  }
  expect(results[1]).toEqual(results[0]);
  expect(results[2]).toEqual(results[0]);
});

describe("failures", () => {
  test("of another thread are errors, not a wait without end", async () => {
    const { model, decoder } = await openDecoder("golden-g1", "f32", 2);
    const owner = new Owner(model.zeroState());
    while (decoder.chunksShared === 0) await owner.read(decoder, [1]);
    // A step of no kind, which the other thread comes upon alone.
    const { memory } = Reflect.get(decoder, "thread") as { memory: WebAssembly.Memory };
    const { stepsAt } = planDecoding(model.config, "f32");
    const words = new Int32Array(memory.buffer);
    words[(stepsAt + STEP_BYTES) / 4] = 99;
    words[TOKEN / 4] = 1;
    Atomics.add(words, GENERATION / 4, 1);
    Atomics.notify(words, GENERATION / 4);
    await pause(200);
    await expect(owner.read(decoder, [1])).rejects.toMatchObject({ code: "failed" });
    await Promise.all([model.dispose(), decoder.dispose()]);
  });

  test("of the caller's own thread are errors too, now and later", async () => {
    const { model, decoder } = await openDecoder("golden-g1", "f32", 1);
    const { memory } = Reflect.get(decoder, "thread") as { memory: WebAssembly.Memory };
    new Int32Array(memory.buffer)[planDecoding(model.config, "f32").stepsAt / 4] = 99;
    const owner = new Owner(model.zeroState());
    for (let i = 0; i < 2; i++) {
      await expect(owner.read(decoder, [1])).rejects.toMatchObject({ code: "failed", message: /decoder/ });
    }
    await Promise.all([model.dispose(), decoder.dispose()]);
  });

  test("a thread that is gone is not waited for", async () => {
    const { model, decoder } = await openDecoder("golden-g1", "f32", 2);
    const [worker] = Reflect.get(decoder, "workers") as { terminate(): Promise<unknown> }[];
    await worker!.terminate();
    const tokens = randomTokens(10, 200, 11);
    const logits = await new Owner(model.zeroState()).read(decoder, tokens);
    expect(logits).toEqual(await decoded(model, tokens, model.zeroState()));
    await Promise.all([model.dispose(), decoder.dispose()]);
  });

  test("a weights file that was cut short is named", async () => {
    const { model, decoder, weightsPath } = await openDecoder("golden-g1", "q8", 1);
    await truncate(weightsPath, (await readFile(weightsPath)).length - 100);
    const options = { weightsPath, config: model.config, dtype: "q8", threads: 1 } as const;
    await expect(Decoder.load(options)).rejects.toMatchObject({
      code: "bad-file",
      message: expect.stringContaining(weightsPath),
    });
    await Promise.all([model.dispose(), decoder.dispose()]);
  });

  test("a model that was disposed of decodes nothing", async () => {
    const { model, decoder } = await openDecoder("golden-g1", "f32", 2);
    await decoder.dispose();
    await expect(new Owner(model.zeroState()).read(decoder, [1])).rejects.toMatchObject({ code: "failed" });
    await model.dispose();
  });
});

test.each([
  ["dispose", "50 tokens\n"],
  ["leave", "50 tokens\n"],
  ["abort", "aborted\n50 tokens\n"],
])("a process whose threads decoded ends by itself: %s", async (how, expected) => {
  const folder = await makeGoldenFolder("golden-g1", scratch.path("endless"));
  await editConfig({ eos_token_id: null })(folder);
  const program = fileURLToPath(new URL("test-exit.ts", import.meta.url));
  const child = spawn(process.execPath, ["--import", "tsx", program, folder, how], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  let output = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    output += text;
  });
  const code = await new Promise((resolve) => child.on("close", resolve));
  expect([code, output]).toEqual([0, expected]);
});

test("has no room for weights above 4 GiB", () => {
  const shape = (width: number, layers: number) => ({
    ...{ model_type: "mamba2", hidden_size: width, num_hidden_layers: layers, num_heads: (2 * width) / 64 },
    ...{ head_dim: 64, state_size: 128, conv_kernel: 4, expand: 2, n_groups: 1, vocab_size: 50288 },
    tie_word_embeddings: true,
  });
  const config = parseMamba2Config(JSON.stringify(shape(2560, 64)), "mamba2-2.7b");
  expect(Decoder.bytes(config, "f32")).toBeNull();
  const parameters = 2.7e9;
  expect(Decoder.bytes(config, "q8")).toBeGreaterThan(parameters);
  expect(Decoder.bytes(config, "q8")).toBeLessThan(1.1 * parameters);
  expect(Decoder.bytes(config, "q4")).toBeLessThan(0.65 * parameters);
});
