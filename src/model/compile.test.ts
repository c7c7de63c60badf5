import { readdir, readFile, rm, stat, truncate, writeFile } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { afterEach, beforeAll, beforeEach, describe, expect, test, vi } from "vitest";
import { setWeight } from "../../test/support/folder-changes.js";
import { makeGoldenFolder } from "../../test/support/golden.js";
import { loadInProcess } from "../../test/support/load-in-process.js";
import { useScratch } from "../../test/support/scratch.js";
import { bundledModel } from "./bundled.js";
import { compiledFolder } from "./compile.js";
import { LanguageModel, type LoadOptions } from "./language-model.js";

const scratch = useScratch();
let directory: string;
let expected: Float32Array;
let fingerprint: string;

/** Loads the golden model and gives its logits after three tokens. */
async function load(options: LoadOptions = {}): Promise<Float32Array> {
  const model = await LanguageModel.load(directory, { threads: 1, ...options });
  fingerprint = model.fingerprint;
  const { logits } = await model.forward([3, 4, 5]);
  await model.dispose();
  return logits;
}

beforeAll(async () => {
  directory = await makeGoldenFolder("golden-g1", scratch.path("model"));
});
beforeEach(async (context) => {
  vi.stubEnv("PICASO_CACHE", scratch.path(`cache-${context.task.id}`));
  expected = await load();
});
afterEach(() => {
  vi.unstubAllEnvs();
});

const inside = (file: string) => join(compiledFolder(fingerprint, "f32"), file);
const compiledNames = () => readdir(dirname(compiledFolder(fingerprint, "f32")));

describe("the compiled folder", () => {
  test("is made by the first load and used by later ones", async () => {
    expect((await readdir(inside("."))).sort()).toEqual([
      "compiled.json",
      "model-webgpu.onnx",
      "model.onnx",
      "weights.bin",
    ]);
    const { ino, mtimeMs } = await stat(inside("weights.bin"));
    const progress: Parameters<NonNullable<LoadOptions["onProgress"]>>[0][] = [];
    expect(await load({ onProgress: (event) => progress.push(event) })).toEqual(expected);
    expect(progress).toEqual([]);
    expect(await stat(inside("weights.bin"))).toMatchObject({ ino, mtimeMs });
  });

  test("is reported on as it grows", async () => {
    await rm(inside("."), { recursive: true });
    const progress: Parameters<NonNullable<LoadOptions["onProgress"]>>[0][] = [];
    await load({ onProgress: (event) => progress.push(event) });
    const { size } = await stat(inside("weights.bin"));
    expect(progress.length).toBeGreaterThan(10);
    expect(progress.every(({ phase, total }) => phase === "compile" && total === size)).toBe(true);
    expect(progress.map(({ done }) => done)).toEqual(progress.map(({ done }) => done).sort((a, b) => a - b));
    expect(progress.at(-1)!.done).toBe(size);
  });

  test.each<[name: string, damage: () => Promise<unknown>]>([
    ["weights.bin is missing", () => rm(inside("weights.bin"))],
    ["weights.bin is cut", () => truncate(inside("weights.bin"), 1000)],
    ["weights.bin is longer", () => truncate(inside("weights.bin"), 10_000_000)],
    ["model.onnx is missing", () => rm(inside("model.onnx"))],
    ["model.onnx is cut", () => truncate(inside("model.onnx"), 1000)],
    ["the receipt is missing", () => rm(inside("compiled.json"))],
    ["the receipt is cut", () => truncate(inside("compiled.json"), 10)],
    ["the receipt is of another kind", () => writeFile(inside("compiled.json"), '{"other": 1}')],
    [
      "the receipt is empty and the weights are cut",
      async () => {
        await writeFile(inside("compiled.json"), "{}");
        await truncate(inside("weights.bin"), 1000);
      },
    ],
    ["the receipt is null", () => writeFile(inside("compiled.json"), "null")],
    [
      "it is empty",
      async () => {
        for (const name of await readdir(inside("."))) await rm(inside(name));
      },
    ],
    [
      "it is a file",
      async () => {
        await rm(inside("."), { recursive: true });
        await writeFile(compiledFolder(fingerprint, "f32"), "");
      },
    ],
  ])("is made anew when %s", async (_, damage) => {
    await damage();
    expect(await load()).toEqual(expected);
    expect((await readdir(inside("."))).sort()).toEqual([
      "compiled.json",
      "model-webgpu.onnx",
      "model.onnx",
      "weights.bin",
    ]);
    expect(await compiledNames()).toEqual([basename(compiledFolder(fingerprint, "f32"))]);
  });

  test("is not there after a load that was aborted", async () => {
    await rm(inside("."), { recursive: true });
    const control = new AbortController();
    const aborted = load({ signal: control.signal, onProgress: () => control.abort() });
    await expect(aborted).rejects.toMatchObject({ code: "aborted" });
    expect(await compiledNames()).toEqual([]);
  });

  test("is not there after a load that found a weight damaged", async () => {
    const name = "backbone.norm_f.weight";
    const broken = await makeGoldenFolder("golden-g1", scratch.path("broken"));
    await setWeight(name, 3, Number.NaN)(broken);
    await expect(LanguageModel.load(broken)).rejects.toMatchObject({ message: expect.stringContaining(name) });
    expect(await compiledNames()).toEqual([basename(compiledFolder(fingerprint, "f32"))]);
  });
});

test("a compiled graph of the right size with other content is an error of the engine, not a crash", async () => {
  const { size } = await stat(inside("model.onnx"));
  await writeFile(inside("model.onnx"), Buffer.alloc(size, 0x5a));
  const message = expect.stringMatching(/ONNX Runtime.*model\.onnx/);
  await expect(load()).rejects.toMatchObject({ code: "failed", message });
});

test("a cache that cannot be written is named, with the way out", async () => {
  await writeFile(scratch.path("file"), "");
  vi.stubEnv("PICASO_CACHE", scratch.path("file", "cache"));
  const message = expect.stringMatching(/file\/cache.*expected to write there.*PICASO_CACHE/);
  await expect(load()).rejects.toMatchObject({ code: "failed", message });
});

test("a cache that was filled elsewhere and cannot be written serves", async () => {
  // Root may write anywhere: the proof is that nothing is written.
  const before = await listing(process.env.PICASO_CACHE!);
  expect(await load()).toEqual(expected);
  expect(await listing(process.env.PICASO_CACHE!)).toEqual(before);
});

async function listing(folder: string): Promise<string[]> {
  const names = await readdir(folder, { recursive: true });
  return Promise.all(names.sort().map(async (name) => `${name} ${(await stat(join(folder, name))).mtimeMs}`));
}

describe("several processes", () => {
  test("that load into an empty cache at once all work, and leave one compiled model", async () => {
    const cache = scratch.path("race");
    const reports = await Promise.all([1, 2].map(() => loadInProcess(bundledModel, cache)));
    expect(reports[0]!.logits).toHaveLength(16_000);
    for (const report of reports) expect(report).toEqual(reports[0]);
    const names = await readdir(join(cache, "compiled"));
    expect(names).toEqual([
      expect.stringMatching(new RegExp(`^${reports[0]!.fingerprint}-f32-v\\d+-${process.arch}$`)),
    ]);
  });

  test("leave nothing that is taken for whole when killed on the way", async () => {
    const cache = scratch.path("killed");
    expect(await loadInProcess(directory, cache, 0.5)).toBeNull();
    const [left, ...others] = await readdir(join(cache, "compiled"));
    expect(others).toEqual([]);
    expect(left).toMatch(/\.tmp$/);
    expect(await readdir(join(cache, "compiled", left!))).toEqual(["weights.bin"]);
    const report = await loadInProcess(directory, cache);
    expect(report).toEqual({ fingerprint, logits: Array.from(expected) });
    expect(JSON.parse(await readFile(join(cache, "compiled", left!.split(".")[0]!, "compiled.json"), "utf8"))).toEqual({
      "model.onnx": expect.any(Number),
      "model-webgpu.onnx": expect.any(Number),
      "weights.bin": expect.any(Number),
    });
  });
});
