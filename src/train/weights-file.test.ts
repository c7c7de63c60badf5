import { readdir } from "node:fs/promises";
import { expect, test } from "vitest";
import { useScratch } from "../../test/support/scratch.js";
import { openSafetensors, openShardedSafetensors, readShardIndex } from "../model/checkpoint/safetensors-source.js";
import { readFloats } from "../model/checkpoint/values.js";
import { type TensorToStore, toBf16, writeShardedTensors, writeTensors } from "./weights-file.js";

const scratch = useScratch();

const tensor = (name: string, data: number[], dtype: "F32" | "BF16" = "F32"): TensorToStore => ({
  name,
  shape: [data.length],
  dtype,
  data: Float32Array.from(data),
});

test("what is written is read again", async () => {
  const path = scratch.path("one.safetensors");
  await writeTensors(path, [tensor("a", [1, 2, 3]), tensor("b", [0.5, -4], "BF16"), tensor("c", [])]);
  const source = await openSafetensors(path);
  expect([...(await readFloats(source, "a"))]).toEqual([1, 2, 3]);
  expect([...(await readFloats(source, "b"))]).toEqual([0.5, -4]);
  expect(source.tensors.get("b")?.dtype).toBe("bf16");
  expect(source.tensors.get("c")?.shape).toEqual([0]);
  await source.close();
});

test("more than fits one file becomes shards with an index", async () => {
  const folder = scratch.path();
  const tensors = [tensor("a", [1, 2]), tensor("b", [3, 4]), tensor("c", Array(20).fill(5)), tensor("d", [6])];
  await writeShardedTensors(folder, "many", tensors, 16);
  expect((await readdir(folder)).filter((name) => name.startsWith("many")).sort()).toEqual([
    "many-00001-of-00003.safetensors",
    "many-00002-of-00003.safetensors",
    "many-00003-of-00003.safetensors",
    "many.safetensors.index.json",
  ]);
  const index = scratch.path("many.safetensors.index.json");
  const source = await openShardedSafetensors(index, await readShardIndex(index));
  for (const { name, data } of tensors) expect(await readFloats(source, name)).toEqual(data);
  await source.close();
});

test("bfloat16 rounds to the nearest, ties to even", () => {
  const back = (value: number) => {
    const bits = new Uint32Array([toBf16(Float32Array.of(value))[0]! << 16]);
    return new Float32Array(bits.buffer)[0];
  };
  const step = 2 ** -7;
  expect(back(1 + 0.49 * step)).toBe(1);
  expect(back(1 + 0.51 * step)).toBe(1 + step);
  expect(back(1 + 0.5 * step)).toBe(1);
  expect(back(1 + 1.5 * step)).toBe(1 + 2 * step);
  expect(back(-3.4e38)).toBe(Number.NEGATIVE_INFINITY);
  expect(back(Number.POSITIVE_INFINITY)).toBe(Number.POSITIVE_INFINITY);
  expect(back(Number.NaN)).toBeNaN();
  expect(Object.is(back(-0), -0)).toBe(true);
});
