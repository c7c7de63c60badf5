/** Models with weights in 8 and 4 bits: near the same model in f32, and consistent with themselves. */
import { readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { roundMatrices } from "../../test/support/dequantize.js";
import { setWeight } from "../../test/support/folder-changes.js";
import {
  Golden,
  type GoldenName,
  goldenVocabulary,
  makeGoldenFolder,
  relativeError,
} from "../../test/support/golden.js";
import { randomTokens } from "../../test/support/random-tokens.js";
import { useScratch } from "../../test/support/scratch.js";
import { compiledFolder } from "./compile.js";
import { LanguageModel } from "./language-model.js";
import type { QuantizedDtype } from "./quantize.js";

const scratch = useScratch();

const cases = (["golden-g1", "golden-g2"] as const).flatMap((name) =>
  (["q8", "q4"] as const).map((dtype): [GoldenName, QuantizedDtype] => [name, dtype]),
);

/**
 * Standard deviation of a product's error relative to the product, when one factor is rounded: a step is as wide as
 * the largest of 32 numbers (at most 3 standard deviations of normal ones, in nearly all blocks) over the codes on one
 * side of zero, and rounding errors spread evenly over a step have the standard deviation step / sqrt(12).
 */
const roundingError = (codes: number) => 3 / codes / Math.sqrt(12);

/** Of a whole model: errors of its products, two a layer and two for embeddings, that add up as independent ones do. */
const modelError = (perProduct: number, layers: number) => perProduct * Math.sqrt(2 * layers + 2);

describe.each(cases)("%s in %s", (name, dtype) => {
  let model: LanguageModel;
  let float: LanguageModel;
  /** In f32, its matrices rounded beforehand: differs by the rounding of activations alone. */
  let rounded: LanguageModel;
  const tokens = (count: number, seed = 1) => randomTokens(count, goldenVocabulary[name], seed);
  beforeAll(async () => {
    const folder = await makeGoldenFolder(name, scratch.path(`${name}-${dtype}`));
    model = await LanguageModel.load(folder, { dtype, threads: 1 });
    float = await LanguageModel.load(folder, { threads: 1 });
    const copy = await makeGoldenFolder(name, scratch.path(`${name}-${dtype}-rounded`));
    await roundMatrices(copy, dtype);
    rounded = await LanguageModel.load(copy, { threads: 1 });
  });
  afterAll(() => Promise.all([model, float, rounded].map((each) => each?.dispose())));

  test("gives the golden states and logits up to the rounding of weights and activations", async () => {
    const golden = await Golden.read(name);
    const layers = model.config.layers;
    const weights = modelError(roundingError(dtype === "q8" ? 127 : 8), layers);
    const bound = 3 * (weights + modelError(roundingError(127), layers));
    const state = await model.encode(golden.values("ctx0.ids"));
    expect(relativeError(state.ssm, golden.ssm("ctx0"))).toBeLessThan(bound);
    expect(relativeError(state.conv, golden.values("ctx0.conv"))).toBeLessThan(bound);
    expect(relativeError(state.logDecay, golden.values("ctx0.logdecay"))).toBeLessThan(bound);
    // And it is quantised at all.
    expect(relativeError(state.ssm, golden.ssm("ctx0"))).toBeGreaterThan(1e-4);
  });

  test("gives what f32 gives on the rounded weights, up to the rounding of activations", async () => {
    const bound = 3 * modelError(roundingError(127), model.config.layers);
    const ids = tokens(60);
    const [found, expected] = await Promise.all([model, rounded].map((each) => each.forward(ids, { logits: "all" })));
    expect(relativeError(found!.logits, expected!.logits)).toBeLessThan(bound);
    expect(relativeError(found!.state.ssm, expected!.state.ssm)).toBeLessThan(bound);
    expect(relativeError(found!.state.conv, expected!.state.conv)).toBeLessThan(bound);
  });

  test("reads token by token as in one pass", async () => {
    const ids = tokens(30);
    const whole = await model.forward(ids, { logits: "all" });
    let state = model.zeroState();
    const logits: number[] = [];
    for (const id of ids) {
      const step = await model.forward([id], { state });
      logits.push(...step.logits);
      state = step.state;
    }
    // Sums in another order move an activation over the border between two codes now and then.
    const bound = modelError(roundingError(127), model.config.layers);
    expect(relativeError(logits, whole.logits)).toBeLessThan(bound);
    expect(relativeError(state.ssm, whole.state.ssm)).toBeLessThan(bound);
  });

  test("encodes a batch as one by one", async () => {
    const contexts = [tokens(5, 2), tokens(40, 3), tokens(17, 4)];
    const bound = modelError(roundingError(127), model.config.layers);
    for (const [i, state] of (await model.encodeMany(contexts)).entries()) {
      const alone = await model.encode(contexts[i]!);
      expect(relativeError(state.ssm, alone.ssm)).toBeLessThan(bound);
      expect(relativeError(state.conv, alone.conv)).toBeLessThan(bound);
    }
  });

  test("has a fingerprint of its own, so that its states are not taken for those of f32", async () => {
    expect(model.fingerprint).toMatch(/^[0-9a-f]{32}$/);
    expect(model.fingerprint).not.toBe(float.fingerprint);
    const state = await float.encode(tokens(3));
    await expect(model.forward(tokens(2), { state })).rejects.toMatchObject({
      code: "mismatch",
      message: expect.stringContaining(float.fingerprint),
    });
  });

  test("is compiled into a folder of its own, smaller than that of f32", async () => {
    const size = async ({ fingerprint }: LanguageModel, type: "f32" | QuantizedDtype) =>
      (await stat(join(compiledFolder(fingerprint, type), "weights.bin"))).size;
    expect(await size(model, dtype)).toBeLessThan(0.5 * (await size(float, "f32")));
    expect(await readdir(compiledFolder(model.fingerprint, dtype))).toHaveLength(3);
  });
});

test("the two types have different fingerprints, the same at every load", async () => {
  const folder = await makeGoldenFolder("golden-g1", scratch.path("fingerprints"));
  const seen: string[] = [];
  for (const dtype of ["q8", "q4", "q8", "q4"] as const) {
    const model = await LanguageModel.load(folder, { dtype, threads: 1 });
    seen.push(model.fingerprint);
    await model.dispose();
  }
  expect(seen.slice(2)).toEqual(seen.slice(0, 2));
  expect(seen[0]).not.toBe(seen[1]);
});

test("a weight that is not finite is named, whatever the type", async () => {
  const folder = await makeGoldenFolder("golden-g1", scratch.path("infinite"));
  const name = "backbone.layers.1.mixer.out_proj.weight";
  await setWeight(name, 7, Number.POSITIVE_INFINITY)(folder);
  await expect(LanguageModel.load(folder, { dtype: "q4" })).rejects.toMatchObject({
    code: "bad-file",
    message: expect.stringContaining(name),
  });
});

test("an unknown type is refused with the known ones", async () => {
  const dtype = "q2" as "q4";
  await expect(LanguageModel.load(scratch.path("nowhere"), { dtype })).rejects.toMatchObject({
    code: "bad-argument",
    message: expect.stringMatching(/dtype.*"f32" or "q8" or "q4".*q2/),
  });
});
