import { copyFile, mkdir, readdir, readFile, rm, stat, utimes, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { beforeEach, describe, expect, test } from "vitest";
import { editBytes, editConfig, shards, weightsFile, writeJson } from "../../test/support/folder-changes.js";
import { makeGoldenFolder } from "../../test/support/golden.js";
import { useScratch } from "../../test/support/scratch.js";
import { findModelFiles } from "./checkpoint/model-files.js";
import { modelFingerprint } from "./fingerprint.js";

const scratch = useScratch();
let folder: string;
let original: string;

async function fingerprint(of = folder): Promise<string> {
  return modelFingerprint(await findModelFiles(of));
}

beforeEach(async (context) => {
  folder = await makeGoldenFolder("golden-g1", scratch.path(context.task.id));
  original = await fingerprint();
});

const flipByte = (file: string, at: number) =>
  editBytes(file, (bytes) => {
    bytes[at < 0 ? bytes.length + at : at]! ^= 1;
    return bytes;
  });

test("is 32 hexadecimal digits, the same on every machine", async () => {
  expect(original).toMatch(/^[0-9a-f]{32}$/);
  await rm(scratch.path("cache"), { recursive: true });
  expect(await fingerprint()).toBe(original);
});

describe("stays with", () => {
  test("a copy of the folder at another place and time", async () => {
    const copy = join(folder, "copy of it");
    await mkdir(copy);
    for (const file of ["config.json", weightsFile, "tokenizer.json"])
      await copyFile(join(folder, file), join(copy, file));
    await utimes(join(copy, weightsFile), 1e9, 1e9);
    expect(await fingerprint(copy)).toBe(original);
  });

  test.each<[string, (folder: string) => Promise<unknown>]>([
    ["another layout of config.json", editBytes("config.json", (bytes) => bytes.toString().replaceAll("\n", "  \n"))],
    ["a field that the model does not depend on", editConfig({ transformers_version: "9", chunk_size: 256 })],
    ["a default spelled out", editConfig({ hidden_act: "silu", expand: 2 })],
    [
      "the other spelling of infinity",
      editBytes("config.json", (bytes) => bytes.toString().replace(/\{[^{}]*"__float__"[^{}]*\}/, "Infinity")),
    ],
    ["a form of text", writeJson("picaso.json", { bos: false })],
    [
      "new times of the files",
      async (folder) => {
        for (const file of await readdir(folder)) await utimes(join(folder, file), 1e9, 1e9);
      },
    ],
  ])("%s", async (_, change) => {
    await change(folder);
    expect(await fingerprint()).toBe(original);
  });
});

describe("changes with", () => {
  test.each<[string, (folder: string) => Promise<unknown>]>([
    ["the first byte of a weight", flipByte(weightsFile, 8000)],
    ["the last byte of the weights", flipByte(weightsFile, -1)],
    ["a byte of the tokenizer", flipByte("tokenizer.json", 1000)],
    ["the norm's epsilon", editConfig({ layer_norm_epsilon: 1e-6 })],
    ["the time step limit", editConfig({ time_step_limit: [0, 1] })],
    ["a time step limit no longer infinite", editConfig({ time_step_limit: [0, 3e38] })],
    ["the end token", editConfig({ eos_token_id: 3 })],
    ["the tied embeddings", editConfig({ tie_word_embeddings: false })],
    ["the groups", editConfig({ n_groups: 2 })],
  ])("%s", async (_, change) => {
    await change(folder);
    expect(await fingerprint()).not.toBe(original);
  });

  test("a byte of either shard", async () => {
    await shards()(folder);
    const whole = await fingerprint();
    for (const shard of ["a.safetensors", "b.safetensors"]) {
      await flipByte(shard, -1)(folder);
      expect(await fingerprint()).not.toBe(whole);
      await flipByte(shard, -1)(folder);
      expect(await fingerprint()).toBe(whole);
    }
  });

  test("a byte, though the file's size and time of modification are set back", async () => {
    const path = join(folder, weightsFile);
    await utimes(path, 1e9, 1e9);
    expect(await fingerprint()).toBe(original);
    const { mtimeMs } = await stat(path);
    await flipByte(weightsFile, -1)(folder);
    await utimes(path, 1e9, 1e9);
    expect((await stat(path)).mtimeMs).toBe(mtimeMs);
    expect(await fingerprint()).not.toBe(original);
  });
});

describe("is remembered", () => {
  const memory = () => scratch.path("cache", "fingerprints");

  test("by the files' sizes and times, so that they are read once", async () => {
    await rm(memory(), { recursive: true });
    await fingerprint();
    const [name, ...others] = await readdir(memory());
    expect(others).toEqual([]);
    expect(await readFile(join(memory(), name!), "utf8")).toBe(original);
    await writeFile(join(memory(), name!), "0".repeat(32));
    expect(await fingerprint()).toBe("0".repeat(32));
  });

  test.each(["", "short", "0".repeat(33), `${"0".repeat(31)}G`])(
    "unless the memory is damaged: %j",
    async (content) => {
      await rm(memory(), { recursive: true });
      await fingerprint();
      for (const name of await readdir(memory())) await writeFile(join(memory(), name), content);
      expect(await fingerprint()).toBe(original);
    },
  );
});

test("names the file that went away in the meantime", async () => {
  const files = await findModelFiles(folder);
  await rm(join(folder, weightsFile));
  await expect(modelFingerprint(files)).rejects.toMatchObject({
    code: "not-found",
    message: expect.stringContaining(weightsFile),
  });
});

test("can be stopped", async () => {
  await rm(scratch.path("cache"), { recursive: true });
  const files = await findModelFiles(folder);
  await expect(modelFingerprint(files, "f32", AbortSignal.abort())).rejects.toMatchObject({ code: "aborted" });
});

test("of two models differ", async () => {
  const other = await makeGoldenFolder("golden-g2", join(folder, "other"));
  expect(await fingerprint(other)).not.toBe(original);
});
