import { rm } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { editTensor } from "../../test/support/folder-changes.js";
import { makeGoldenFolder } from "../../test/support/golden.js";
import { useScratch } from "../../test/support/scratch.js";
import { codecNames } from "../state/codec.js";
import { ContextState } from "../state/context-state.js";
import { bundledModel } from "./bundled.js";
import { inspectModel } from "./inspect.js";
import { LanguageModel } from "./language-model.js";

const scratch = useScratch();

test("describes a model, and where it is compiled once it is", async () => {
  const directory = await makeGoldenFolder("golden-g2", scratch.path("g2"));
  const report = await inspectModel(directory);
  // Embeddings in and out, and per layer: norm, in_proj, conv1d, dt_bias, A_log, D, gated norm, out_proj.
  const layer = 48 + 294 * 48 + 294 + 192 * 4 + 192 + 6 + 6 + 6 + 96 + 48 * 96 + 48;
  expect(report).toMatchObject({
    directory,
    parameters: 2 * 200 * 48 + 48 + 2 * layer,
    dtypes: ["f32"],
    compiled: null,
    config: { layers: 2, groups: 2 },
    form: { bos: true },
  });
  const model = await LanguageModel.load(directory, { threads: 1 });
  expect(report.fingerprint).toBe(model.fingerprint);
  expect(report.shape).toEqual(model.stateShape);
  for (const codec of codecNames) {
    const header = ContextState.zero(model.fingerprint, model.stateShape).toBytes(codec).length - report.state[codec];
    expect(header, codec).toBeGreaterThan(0);
    expect(header, codec).toBeLessThan(1500);
  }
  await model.dispose();
  const { compiled, decoder } = await inspectModel(directory);
  // The weights, and little beside them.
  expect(decoder.f32).toBeGreaterThan(4 * report.parameters);
  expect(decoder.f32).toBeLessThan(4 * report.parameters + 4e5);
  expect(decoder.q8).toBeLessThan(decoder.f32!);
  expect(compiled).toContain(join(scratch.path("cache"), "compiled", report.fingerprint));
});

test("describes the bundled model", async () => {
  const report = await inspectModel(bundledModel);
  expect(report).toMatchObject({ parameters: 25_393_632, dtypes: ["bf16", "f32"], config: { layers: 10 } });
});

test("refuses what cannot be loaded", async () => {
  const directory = await makeGoldenFolder("golden-g1", scratch.path("g1"));
  const name = "backbone.norm_f.weight";
  await editTensor(name, () => ({ shape: [1, 64] }))(directory);
  await expect(inspectModel(directory)).rejects.toMatchObject({
    code: "bad-file",
    message: expect.stringMatching(/model\.safetensors, tensor backbone\.norm_f\.weight/),
  });
  await rm(join(directory, "model.safetensors"));
  await expect(inspectModel(directory)).rejects.toMatchObject({ code: "not-found" });
});
