/** Weights that are damaged, incomplete, or lie: refused with an error that names the file and the tensor. */
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import {
  asFolder,
  editBytes,
  editHeader,
  editTensor,
  editTensors,
  headerLength,
  indexFile,
  ownHeader,
  remove,
  setWeight,
  shards,
  weightsFile,
  writeJson,
  writeText,
} from "../../test/support/folder-changes.js";
import { makeGoldenFolder } from "../../test/support/golden.js";
import { refused } from "../../test/support/refused.js";
import { useScratch } from "../../test/support/scratch.js";
import { findTensor } from "../../test/support/tensor-file.js";
import { PicasoError } from "../errors.js";
import { findModelFiles } from "./checkpoint/model-files.js";
import { LanguageModel } from "./language-model.js";
import { checkParameters } from "./parameters.js";

const scratch = useScratch();
const embeddings = "backbone.embeddings.weight";
const inProj = "backbone.layers.0.mixer.in_proj.weight";
const skip = "backbone.layers.0.mixer.D";
const f32 = { dtype: "F32", shape: [16], data_offsets: [0, 64] };
const entry = JSON.stringify(f32);

test("the folder is good before it is changed, in one file and in shards", async () => {
  const folder = await makeGoldenFolder("golden-g1", scratch.path("good"));
  await (await LanguageModel.load(folder)).dispose();
  await shards()(folder);
  await (await LanguageModel.load(folder)).dispose();
});

describe("one file", () => {
  refused(scratch, "bad-file", weightsFile, [
    ["cut in half", editBytes(weightsFile, (bytes) => bytes.subarray(0, bytes.length >> 1)), "data_offsets"],
    ["without its last byte", editBytes(weightsFile, (bytes) => bytes.subarray(0, -1)), "tensor", "data_offsets"],
    ["with a byte more", editBytes(weightsFile, (bytes) => Buffer.concat([bytes, Buffer.of(0)])), "its end"],
    ["cut in the header", editBytes(weightsFile, (bytes) => bytes.subarray(0, 100)), "header length"],
    ["cut in the header's length", editBytes(weightsFile, (bytes) => bytes.subarray(0, 5)), "5 bytes"],
    ["empty", writeText(weightsFile, ""), "0 bytes"],
    ["that is a web page", writeText(weightsFile, "<!DOCTYPE html><title>Not found</title>"), "header length"],
    ["that is a pointer", writeText(weightsFile, "version https://git-lfs.github.com/spec/v1"), "header length"],
    ["of noise", writeText(weightsFile, `\x08${"\0".repeat(7)}noisenoise`), "header"],
    ["that is a folder", asFolder(weightsFile), "a directory"],
    ["with a header of 2^63 bytes", headerLength(() => 1n << 63n), "header length"],
    ["with a header as long as the file", headerLength((_, size) => BigInt(size)), "header length"],
    ["with a header cut short", headerLength((length) => BigInt(length - 20)), "tensor", "does not end"],
    ["with an empty header", headerLength(() => 0n), "header"],
    ["with a bit flipped in a brace", editHeader('{"dtype"', 'y"dtype"'), "tensor"],
    ["with a bit flipped in a name", editHeader("0.mixer.D", "0.mixer.E"), skip, "no such tensor"],
    ["with a bit flipped in a shape", editHeader('"shape":[8]', '"shape":[9]'), "A_log", "36 bytes"],
    ["with a bit flipped in an offset", editHeader('"data_offsets":[0', '"data_offsets":[1'), embeddings],
    ["with a type of its own", editHeader('"F32"', '"F99"'), embeddings, "dtype", "F99"],
    [
      "with an offset outside",
      ownHeader({ ...f32, shape: [2 ** 40], data_offsets: [0, 2 ** 42] }),
      '"w", data_offsets',
    ],
    ["with a shape that overflows", ownHeader({ ...f32, shape: [2 ** 40, 2 ** 40] }), '"w", shape'],
    ["with a negative shape", ownHeader({ ...f32, shape: [-4, -4] }), '"w", shape'],
    ["with a broken shape", ownHeader({ ...f32, shape: [1.5] }), '"w", shape'],
    ["with offsets in reverse", ownHeader({ ...f32, data_offsets: [64, 0] }), '"w", data_offsets'],
    ["with tensors that overlap", ownHeader(`{"v":${entry},"w":${entry}}`), '"w"', "overlapping"],
    ["with a name twice", ownHeader(`{"w":${entry},"w":${entry}}`), '"w" twice'],
    ["with a header that nests", ownHeader(`{"w":${"[".repeat(1e5)}`), '"w"'],
    ["of another model", ownHeader(f32), embeddings, "no such tensor"],
    ["with a NaN", setWeight(inProj, 1000, Number.NaN), inProj, "NaN"],
    ["with an infinity", setWeight(skip, 0, Number.NEGATIVE_INFINITY), skip, "infinity"],
    [
      "with a matrix transposed",
      editTensor(inProj, ({ shape }) => ({ shape: shape.toReversed() })),
      inProj,
      "[64,296]",
    ],
    ["with a matrix as one row", editTensor(inProj, () => ({ shape: [1, 296 * 64] })), inProj, "[1,18944]"],
    ["with a tensor missing", editTensors((all) => all.filter(({ name }) => name !== inProj)), inProj],
    ["with an empty tensor", editTensor(skip, () => ({ shape: [0], bytes: new Uint8Array(0) })), skip, "[0]"],
    [
      "with a tensor too many",
      editTensors((all) => [...all, { ...findTensor(all, skip), name: "backbone.layers.3.mixer.D" }]),
      "backbone.layers.3.mixer.D",
    ],
  ]);

  refused(scratch, "unsupported", weightsFile, [
    ["with integers as weights", editTensor(skip, () => ({ dtype: "I64", bytes: new Uint8Array(64) })), skip, "i64"],
    ["with bytes as weights", editTensor(skip, () => ({ dtype: "U8", bytes: new Uint8Array(8) })), skip, "u8"],
    ["with a type not read here", ownHeader({ ...f32, dtype: "C64", shape: [8] }), '"w", dtype', "C64"],
  ]);

  refused(scratch, "not-found", weightsFile, [["that is not there, nor an index", remove(weightsFile), indexFile]]);
});

describe("shards", () => {
  refused(scratch, "bad-file", indexFile, [
    ["that is not JSON", shards({}, writeText(indexFile, "{")), "weight_map"],
    ["that is empty", shards({}, writeText(indexFile, "")), "weight_map"],
    ["that is null", shards({}, writeJson(indexFile, null)), "weight_map", "nothing"],
    ["without weight_map", shards({}, writeJson(indexFile, { metadata: {} })), "weight_map", "nothing"],
    ["with a list", shards({}, writeJson(indexFile, { weight_map: ["a.safetensors"] })), "weight_map", "a.safetensors"],
    ["with no tensors", shards({}, writeJson(indexFile, { weight_map: {} })), embeddings],
    ["that is a folder", shards({}, asFolder(indexFile)), "a directory"],
    ["that leaves the folder", shards({ [inProj]: "../x.safetensors" }), inProj, '"../x.safetensors"'],
    ["that leaves the folder backwards", shards({ [inProj]: "..\\x.safetensors" }), inProj, "weight_map"],
    ["with a full path", shards({ [inProj]: "/etc/x.safetensors" }), inProj, "/etc/x.safetensors"],
    ["with a zero byte in a name", shards({ [inProj]: "a.safetensors\0.safetensors" }), inProj, "weight_map"],
    ["that names another file", shards({ [inProj]: "config.json" }), inProj, "config.json"],
    ["that names a number", shards({ [inProj]: 1 }), inProj, "found 1"],
    ["that mistakes the shard", shards({ [embeddings]: "b.safetensors" }), embeddings, "it in a.safetensors"],
    ["with a tensor that is nowhere", shards({ extra: "a.safetensors" }), '"extra" in a.safetensors', "no such tensor"],
  ]);

  refused(scratch, "bad-file", "a.safetensors", [
    ["that is a folder", shards({}, asFolder("a.safetensors")), "a directory"],
    [
      "that is cut",
      shards(
        {},
        editBytes("a.safetensors", (bytes) => bytes.subarray(0, -4)),
      ),
      "tensor",
      "data_offsets",
    ],
    ["that is empty", shards({}, writeText("a.safetensors", "")), "0 bytes"],
  ]);

  refused(scratch, "not-found", "a.safetensors", [["that is missing", shards({}, remove("a.safetensors"))]]);
});

test("a name with a line break or of great length cannot take over the message", async () => {
  const folder = await makeGoldenFolder("golden-g1", scratch.path("name"));
  const name = `x\n${"y".repeat(10_000)}`;
  await editTensors((all) => [...all, { ...findTensor(all, skip), name }])(folder);
  const error = await LanguageModel.load(folder).catch((error) => error);
  expect(error.code).toBe("bad-file");
  expect(error.message).not.toContain("\n");
  expect(error.message.length).toBeLessThan(500);
});

test("any bit of the header flipped is either refused by name or harmless", async () => {
  const folder = await makeGoldenFolder("golden-g1", scratch.path("bits"));
  const path = join(folder, weightsFile);
  const whole = await readFile(path);
  const headerEnd = 8 + Number(whole.readBigUInt64LE());
  let refusals = 0;
  for (let bit = 0; bit < 8 * headerEnd; bit += 31) {
    const bytes = Buffer.from(whole);
    bytes[bit >> 3]! ^= 1 << (bit & 7);
    await writeFile(path, bytes);
    const { config, openWeights } = await findModelFiles(folder);
    const source = await openWeights().catch(refusal);
    if (source) {
      try {
        checkParameters(source, config, path);
      } catch (error) {
        refusal(error);
      } finally {
        await source.close();
      }
    }
  }
  function refusal(error: unknown): undefined {
    if (!PicasoError.isInstance(error)) throw error;
    expect(error.message).toContain(weightsFile);
    refusals++;
  }
  expect(refusals).toBeGreaterThan((8 * headerEnd) / 31 / 2);
});
