/** The same weights in other types and layouts of files give the same model. */
import { beforeAll, expect, test } from "vitest";
import { type Change, editTensors, shards } from "../../test/support/folder-changes.js";
import { makeGoldenFolder } from "../../test/support/golden.js";
import { randomTokens } from "../../test/support/random-tokens.js";
import { useScratch } from "../../test/support/scratch.js";
import { findTensor, values } from "../../test/support/tensor-file.js";
import type { SafetensorsDtype, TensorToWrite } from "../state/safetensors.js";
import { LanguageModel } from "./language-model.js";

const scratch = useScratch();
const tokens = randomTokens(20, 288);
const bits = new DataView(new ArrayBuffer(4));

/** The upper half of the float32, which is what bfloat16 keeps. */
function bf16Bits(value: number): number {
  bits.setFloat32(0, value);
  return bits.getUint16(0);
}

/** The half float next to `value` towards zero; the golden weights are all in its range. */
function f16Bits(value: number): number {
  const sign = value < 0 ? 0x8000 : 0;
  const size = Math.abs(value);
  if (size < 2 ** -14) return sign | Math.floor(size * 2 ** 24);
  const exponent = Math.floor(Math.log2(size));
  return sign | ((exponent + 15) << 10) | Math.floor((size / 2 ** exponent - 1) * 1024);
}

/** Whole numbers of 16 bits as a tensor. */
function half(tensor: TensorToWrite, dtype: SafetensorsDtype, toBits: (value: number) => number): TensorToWrite {
  return { ...tensor, dtype, bytes: new Uint8Array(Uint16Array.from(values(tensor), toBits).buffer) };
}

function single(tensor: TensorToWrite, round: (value: number) => number): TensorToWrite {
  return { ...tensor, bytes: new Uint8Array(Float32Array.from(values(tensor), round).buffer) };
}

function bf16Value(value: number): number {
  bits.setUint32(0, bf16Bits(value) << 16);
  return bits.getFloat32(0);
}

function f16Value(value: number): number {
  const step = Math.max(2 ** -24, 2 ** (Math.floor(Math.log2(Math.abs(value) || 1e-30)) - 10));
  return Math.trunc(value / step) * step;
}

let count = 0;
async function logitsAfter(change: Change): Promise<Float32Array> {
  const folder = await makeGoldenFolder("golden-g1", scratch.path(`model-${count++}`));
  await change(folder);
  const model = await LanguageModel.load(folder, { threads: 1 });
  const { logits } = await model.forward(tokens, { logits: "all" });
  await model.dispose();
  return logits;
}

let original: Float32Array;
beforeAll(async () => {
  original = await logitsAfter(async () => {});
});

test("in shards", async () => {
  expect(await logitsAfter(shards())).toEqual(original);
});

test("in another order", async () => {
  expect(await logitsAfter(editTensors((tensors) => tensors.toReversed()))).toEqual(original);
});

test("in float64", async () => {
  const widen = (tensor: TensorToWrite): TensorToWrite => {
    return { ...tensor, dtype: "F64", bytes: new Uint8Array(Float64Array.from(values(tensor)).buffer) };
  };
  expect(await logitsAfter(editTensors((tensors) => tensors.map(widen)))).toEqual(original);
});

test.each([
  ["bfloat16", "BF16", bf16Bits, bf16Value],
  ["float16", "F16", f16Bits, f16Value],
] as const)("in %s, as its values in float32", async (_, dtype, toBits, toValue) => {
  const rounded = await logitsAfter(editTensors((tensors) => tensors.map((tensor) => single(tensor, toValue))));
  expect(rounded).not.toEqual(original);
  const stored = editTensors((tensors) => tensors.map((tensor) => half(tensor, dtype, toBits)));
  expect(await logitsAfter(stored)).toEqual(rounded);
});

test("in several types at once", async () => {
  const rounded = await logitsAfter(editTensors((all) => all.map((t, i) => (i % 2 ? single(t, bf16Value) : t))));
  const stored = editTensors((all) => all.map((t, i) => (i % 2 ? half(t, "BF16", bf16Bits) : t)));
  expect(await logitsAfter(stored)).toEqual(rounded);
});

test("with a copy of tied embeddings as the output's", async () => {
  const copy = editTensors((tensors) => {
    const embeddings = findTensor(tensors, "backbone.embeddings.weight");
    return [...tensors, { ...embeddings, name: "lm_head.weight" }];
  });
  expect(await logitsAfter(copy)).toEqual(original);
});
