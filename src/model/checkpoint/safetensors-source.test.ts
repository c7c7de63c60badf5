import { existsSync, readdirSync, readlinkSync } from "node:fs";
import { copyFile, mkdir, rm, writeFile } from "node:fs/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { fixture } from "../../../test/support/golden.js";
import { useScratch } from "../../../test/support/scratch.js";
import { readTensorFile, writeTensorFile } from "../../../test/support/tensor-file.js";
import type { TensorToWrite } from "../../state/safetensors.js";
import { openSafetensors, openShardedSafetensors, readShardIndex } from "./safetensors-source.js";
import type { TensorSource } from "./tensor-source.js";

const scratch = useScratch();
const single = fixture("golden-g1", "model.safetensors");
let tensors: TensorToWrite[];
beforeAll(async () => {
  tensors = await readTensorFile(single);
});

describe("one file", () => {
  let source: TensorSource;
  beforeAll(async () => {
    source = await openSafetensors(single);
  });
  afterAll(() => source.close());

  test("gives every tensor with its type, shape and bytes", async () => {
    expect([...source.tensors.keys()]).toEqual(tensors.map(({ name }) => name));
    for (const { name, shape, bytes } of tensors) {
      expect(source.tensors.get(name)).toMatchObject({ name, dtype: "f32", shape, byteLength: bytes.length });
      expect(source.where(name)).toBe(single);
      expect(Buffer.compare(await source.read(name), bytes)).toBe(0);
    }
  });

  test("reads parts", async () => {
    const { name, bytes } = tensors[0]!;
    expect(await source.read(name, 8, 20)).toEqual(bytes.slice(8, 20));
    expect(await source.read(name, bytes.length - 4)).toEqual(bytes.slice(-4));
    expect(await source.read(name, 4, 4)).toHaveLength(0);
  });

  test.each([
    [-4, 4],
    [8, 4],
    [0, 2 ** 40],
    [0.5, 4],
    [Number.NaN, 4],
  ])("refuses the range [%d, %d), which would be another tensor's bytes", async (start, end) => {
    const { name } = tensors[0]!;
    const message = expect.stringContaining(`tensor ${name}`);
    await expect(source.read(name, start, end)).rejects.toMatchObject({ code: "bad-argument", message });
  });

  test("says that it has no such tensor", async () => {
    await expect(source.read("lm_head.weight")).rejects.toMatchObject({ code: "not-found" });
    expect(() => source.where("lm_head.weight")).toThrow(/lm_head\.weight/);
  });
});

test("a file that shrinks after it was opened is an error, not zeros", async () => {
  const path = scratch.path("shrinking.safetensors");
  await copyFile(single, path);
  const source = await openSafetensors(path);
  await writeFile(path, "");
  const { name } = tensors[0]!;
  await expect(source.read(name)).rejects.toMatchObject({ code: "bad-file", message: expect.stringContaining(path) });
  await source.close();
});

describe("shards", () => {
  /** Writes shards of the golden checkpoint, tensor `i` in shard `i mod count`, and the index. */
  async function writeShards(name: string, count: number): Promise<string> {
    const folder = scratch.path(name);
    await mkdir(folder, { recursive: true });
    const shardOf = (i: number) => `model-0000${(i % count) + 1}-of-0000${count}.safetensors`;
    for (let shard = 0; shard < count; shard++) {
      const part = tensors.filter((_, i) => i % count === shard);
      await writeTensorFile(`${folder}/${shardOf(shard)}`, part);
    }
    const weight_map = Object.fromEntries(tensors.map((tensor, i) => [tensor.name, shardOf(i)]));
    await writeFile(`${folder}/index.json`, JSON.stringify({ metadata: {}, weight_map }));
    return `${folder}/index.json`;
  }

  test("give what the single file gives", async () => {
    const index = await writeShards("three", 3);
    const source = await openShardedSafetensors(index, await readShardIndex(index));
    expect(new Set(source.tensors.keys())).toEqual(new Set(tensors.map(({ name }) => name)));
    for (const { name, shape, bytes } of tensors) {
      expect(source.tensors.get(name)!.shape).toEqual(shape);
      expect(Buffer.compare(await source.read(name), bytes)).toBe(0);
    }
    expect(source.where(tensors[1]!.name)).toMatch(/model-00002-of-00003\.safetensors$/);
    await source.close();
  });

  test("are all closed when one is missing", async () => {
    const index = await writeShards("missing", 3);
    await rm(scratch.path("missing", "model-00002-of-00003.safetensors"));
    await expect(readShardIndex(index).then((map) => openShardedSafetensors(index, map))).rejects.toMatchObject({
      code: "not-found",
      message: expect.stringContaining("model-00002-of-00003.safetensors"),
    });
    expect(openFilesIn(scratch.path("missing"))).toBe(0);
  });

  test("may not hold a tensor twice, even where the index lists it once", async () => {
    const index = await writeShards("twice", 2);
    const second = scratch.path("twice", "model-00002-of-00002.safetensors");
    const part = tensors.filter((_, i) => i % 2 === 1);
    await writeTensorFile(second, [...part, tensors[0]!]);
    await expect(readShardIndex(index).then((map) => openShardedSafetensors(index, map))).rejects.toMatchObject({
      code: "bad-file",
      message: expect.stringMatching(new RegExp(`${second}, tensor "${tensors[0]!.name}".*00001-of-00002`)),
    });
    expect(openFilesIn(scratch.path("twice"))).toBe(0);
  });
});

/** Files of a folder that this process holds open; 0 on systems that do not list them. */
function openFilesIn(folder: string): number {
  const list = "/proc/self/fd";
  if (!existsSync(list)) return 0;
  const isInFolder = (descriptor: string) => {
    try {
      return readlinkSync(`${list}/${descriptor}`).startsWith(folder);
    } catch {
      return false;
    }
  };
  return readdirSync(list).filter(isInFolder).length;
}
