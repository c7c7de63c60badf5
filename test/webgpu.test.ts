/** The WebGPU engine against the CPU engine; on Debian's Chromium's software device where there is no graphics card. */
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { LanguageModel } from "../src/model/language-model.js";
import { type GoldenName, makeGoldenFolder } from "./support/golden.js";
import { useScratch } from "./support/scratch.js";
import { readTensorFile, writeTensorFile } from "./support/tensor-file.js";
import { compareInProcess, webGpuEnvironment } from "./support/webgpu-process.js";

const scratch = useScratch();

/** What issue and documentation promise, relative to each tensor's largest value. */
const tolerance = 1e-3;
// Shaders for a processor without a graphics card are compiled for seconds.
const timeout = 300_000;

const names: GoldenName[] = ["golden-g1", "golden-g2"];

describe("as on the CPU", () => {
  test.for(names)("%s", { timeout }, async (name, { skip }) => {
    const folder = await makeGoldenFolder(name, scratch.path(name));
    const { missing, errors, fingerprints, texts, answers, sameBits } = await compareInProcess(folder, name);
    if (missing !== null) return skip(missing);
    console.log(`${name}, largest relative differences: ${JSON.stringify(errors)}`);
    expect(Object.keys(errors).length).toBeGreaterThan(10);
    for (const [kind, error] of Object.entries(errors)) expect(error, kind).toBeLessThan(tolerance);
    expect(fingerprints[1]).toBe(fingerprints[0]);
    expect(texts[1]).toBe(texts[0]);
    expect(JSON.parse(answers[0]!)[1]).toHaveLength(2);
    expect(answers[1]).toBe(answers[0]);
    expect(sameBits).toMatchObject({ soup: true, "picaso-s": true, "picaso-r": true, caso: false });
  });

  test("more layers than a shader takes buffers", { timeout }, async ({ skip }) => {
    const folder = await makeGoldenFolder("golden-g1", scratch.path("deep"));
    await deepen(folder, 3, 14);
    const { missing, errors } = await compareInProcess(folder, "golden-g1");
    if (missing !== null) return skip(missing);
    for (const [kind, error] of Object.entries(errors)) expect(error, kind).toBeLessThan(tolerance);
  });
});

test("without a driver, says what is missing", { timeout }, async () => {
  const environment = { ...webGpuEnvironment(), VK_ICD_FILENAMES: scratch.path("none.json"), VK_DRIVER_FILES: "" };
  const folder = await makeGoldenFolder("golden-g1", scratch.path("golden-g1"));
  const { missing } = await compareInProcess(folder, "golden-g1", environment);
  expect(missing).toMatch(/^device webgpu: expected a graphics processor .*found .*(adapter|WebGPU).*\. /);
});

test("weights of 8 or 4 bits are refused, since they would not give what they do on the CPU", async () => {
  const folder = await makeGoldenFolder("golden-g1", scratch.path("golden-g1"));
  for (const dtype of ["q8", "q4"] as const) {
    const loading = LanguageModel.load(folder, { device: "webgpu", dtype });
    await expect(loading).rejects.toMatchObject({ code: "unsupported", message: expect.stringContaining(dtype) });
  }
});

/** Makes the model in `folder` deeper by repeating its layers. */
async function deepen(folder: string, layers: number, wanted: number): Promise<void> {
  const config = join(folder, "config.json");
  const json = JSON.parse((await readFile(config, "utf8")).replaceAll(/\bInfinity\b(?!")/g, "null"));
  const weights = join(folder, "model.safetensors");
  const tensors = await readTensorFile(weights);
  const repeated = Array.from({ length: wanted - layers }, (_, i) =>
    tensors
      .filter(({ name }) => name.includes(`.layers.${i % layers}.`))
      .map((tensor) => ({ ...tensor, name: tensor.name.replace(/layers\.\d+/, `layers.${layers + i}`) })),
  );
  await writeTensorFile(weights, [...tensors, ...repeated.flat()]);
  await writeFile(config, JSON.stringify({ ...json, num_hidden_layers: wanted }));
}
