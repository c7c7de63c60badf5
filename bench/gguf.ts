/**
 * Writes a Mamba-2 checkpoint as a GGUF file (version 3), which llama.cpp reads, so that both engines can be measured
 * on the same weights. Names and metadata are those of llama.cpp's `mamba2` architecture; the layout of a file stands
 * in the GGUF specification of the ggml project, those of Q8_0 and Q4_0 blocks in its ggml-common.h.
 *
 * The vocabulary is a placeholder, one invented text per id: only token ids are passed to the peer.
 */
import { type FileHandle, open, rename } from "node:fs/promises";
import { findModelFiles } from "../src/model/checkpoint/model-files.js";
import { readFloats } from "../src/model/checkpoint/values.js";
import type { Mamba2Config } from "../src/model/config.js";
import { parameterShapes } from "../src/model/parameters.js";

const tensorTypes = { f32: 0, q4: 2, q8: 8 } as const;
const fileTypes = { f32: 0, q4: 2, q8: 7 } as const;
export type GgufDtype = keyof typeof tensorTypes;

const valueTypes = { u32: 4, i32: 5, f32: 6, string: 8, array: 9 } as const;
const alignment = 32;
const blockValues = 32;
const blockBytes = { f32: 128, q4: 18, q8: 34 } as const;

export interface GgufTypes {
  /** in_proj and out_proj. */
  matrices: GgufDtype;
  /** Embeddings, and with them the output embedding. */
  embeddings: GgufDtype;
}

interface Tensor {
  name: string;
  parameter: string;
  /** As GGUF counts: the axis whose values are consecutive first. */
  dimensions: number[];
  dtype: GgufDtype;
  byteLength: number;
  offset: number;
}

/** Writes the model in `directory` to `path`; its width and inner width must be whole blocks of 32. */
export async function writeGguf(directory: string, path: string, types: GgufTypes): Promise<void> {
  const files = await findModelFiles(directory);
  const tensors = placeTensors(files.config, types);
  const source = await files.openWeights();
  const file = await open(`${path}.tmp`, "w");
  try {
    const header = writeHeader(files.config, tensors, types);
    await file.write(header);
    for (const { parameter, dtype, offset } of tensors) {
      const values = await readFloats(source, parameter);
      if (parameter.endsWith(".A_log")) for (const [i, value] of values.entries()) values[i] = -Math.exp(value);
      await writeAll(file, encode(values, dtype), header.length + offset);
    }
  } finally {
    await file.close();
    await source.close();
  }
  await rename(`${path}.tmp`, path);
}

/** llama.cpp's name of each part of a block. */
const blockNames: Record<string, string> = {
  "norm.weight": "attn_norm.weight",
  "mixer.in_proj.weight": "ssm_in.weight",
  "mixer.conv1d.weight": "ssm_conv1d.weight",
  "mixer.conv1d.bias": "ssm_conv1d.bias",
  "mixer.dt_bias": "ssm_dt.bias",
  "mixer.A_log": "ssm_a",
  "mixer.D": "ssm_d",
  "mixer.norm.weight": "ssm_norm.weight",
  "mixer.out_proj.weight": "ssm_out.weight",
};

function ggufName(parameter: string): string {
  if (parameter === "backbone.embeddings.weight") return "token_embd.weight";
  if (parameter === "backbone.norm_f.weight") return "output_norm.weight";
  if (parameter === "lm_head.weight") return "output.weight";
  const [, layer, part] = /^backbone\.layers\.(\d+)\.(.+)$/.exec(parameter) ?? [];
  const name = blockNames[part ?? ""];
  if (!name) throw new Error(`llama.cpp's mamba2 has no tensor for ${parameter}`);
  return `blk.${layer}.${name}`;
}

function placeTensors(config: Mamba2Config, types: GgufTypes): Tensor[] {
  let offset = 0;
  return Array.from(parameterShapes(config), ([parameter, shape]) => {
    const name = ggufName(parameter);
    let dimensions = shape.toReversed();
    if (name.includes("conv1d.weight")) dimensions = [config.convKernel, config.convDim];
    if (/ssm_[ad]$/.test(name)) dimensions = [1, config.heads];
    if (name.includes("ssm_norm")) dimensions = [config.innerSize / config.groups, config.groups];
    const isMatrix = name.includes("ssm_in") || name.includes("ssm_out");
    const isEmbedding = name === "token_embd.weight" || name === "output.weight";
    const dtype = isMatrix ? types.matrices : isEmbedding ? types.embeddings : "f32";
    const count = shape.reduce((a, b) => a * b, 1);
    const byteLength = dtype === "f32" ? 4 * count : (count / blockValues) * blockBytes[dtype];
    const tensor = { name, parameter, dimensions, dtype, byteLength, offset };
    offset += Math.ceil(byteLength / alignment) * alignment;
    return tensor;
  });
}

function writeHeader(config: Mamba2Config, tensors: Tensor[], types: GgufTypes): Uint8Array {
  const tokens = Array.from({ length: config.vocabSize }, (_, id) => `<${id}>`);
  const metadata: [key: string, type: "u32" | "f32" | "string", value: number | string][] = [
    ["general.architecture", "string", "mamba2"],
    ["general.alignment", "u32", alignment],
    ["general.file_type", "u32", fileTypes[types.matrices]],
    ["mamba2.context_length", "u32", 1 << 20],
    ["mamba2.embedding_length", "u32", config.hiddenSize],
    ["mamba2.feed_forward_length", "u32", 0],
    ["mamba2.attention.head_count", "u32", 0],
    ["mamba2.block_count", "u32", config.layers],
    ["mamba2.ssm.conv_kernel", "u32", config.convKernel],
    ["mamba2.ssm.inner_size", "u32", config.innerSize],
    ["mamba2.ssm.state_size", "u32", config.stateSize],
    ["mamba2.ssm.time_step_rank", "u32", config.heads],
    ["mamba2.ssm.group_count", "u32", config.groups],
    ["mamba2.attention.layer_norm_rms_epsilon", "f32", config.epsilon],
    ["tokenizer.ggml.model", "string", "gpt2"],
    ["tokenizer.ggml.pre", "string", "gpt-2"],
    ["tokenizer.ggml.bos_token_id", "u32", 0],
    ["tokenizer.ggml.eos_token_id", "u32", 0],
  ];
  const out = new Bytes();
  out
    .text("GGUF")
    .u32(3)
    .u64(tensors.length)
    .u64(metadata.length + 3);
  for (const [key, type, value] of metadata) {
    out.string(key).u32(valueTypes[type]);
    if (typeof value === "string") out.string(value);
    else if (type === "f32") out.f32(value);
    else out.u32(value);
  }
  const list = (key: string, type: "string" | "i32", length: number) =>
    out.string(key).u32(valueTypes.array).u32(valueTypes[type]).u64(length);
  list("tokenizer.ggml.tokens", "string", tokens.length);
  for (const token of tokens) out.string(token);
  list("tokenizer.ggml.token_type", "i32", tokens.length);
  const [normal, control] = [1, 3];
  for (const id of tokens.keys()) out.u32(id === 0 ? control : normal);
  list("tokenizer.ggml.merges", "string", 1).string("< 1");
  for (const { name, dimensions, dtype, offset } of tensors) {
    out.string(name).u32(dimensions.length);
    for (const size of dimensions) out.u64(size);
    out.u32(tensorTypes[dtype]).u64(offset);
  }
  return out.padded(alignment);
}

function encode(values: Float32Array, dtype: GgufDtype): Uint8Array {
  if (dtype === "f32") return new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
  const blocks = values.length / blockValues;
  const bytes = new Uint8Array(blocks * blockBytes[dtype]);
  const view = new DataView(bytes.buffer);
  const encodeBlock = dtype === "q8" ? encodeQ8 : encodeQ4;
  for (let block = 0; block < blocks; block++) {
    encodeBlock(values.subarray(block * blockValues, (block + 1) * blockValues), view, block * blockBytes[dtype]);
  }
  return bytes;
}

/** A half float d, then 32 signed bytes q: values d q. */
function encodeQ8(values: Float32Array, view: DataView, at: number): void {
  const scale = largest(values) / 127;
  view.setUint16(at, toHalf(Math.abs(scale)), true);
  for (let i = 0; i < blockValues; i++) {
    view.setInt8(at + 2 + i, scale === 0 ? 0 : Math.round(values[i]! / Math.abs(scale)));
  }
}

/** A half float d, then 32 nibbles q, value i + 16 above value i: values d (q - 8). */
function encodeQ4(values: Float32Array, view: DataView, at: number): void {
  const scale = largest(values) / -8;
  view.setUint16(at, toHalf(scale), true);
  const quantised = (value: number) => (scale === 0 ? 8 : Math.min(15, Math.trunc(value / scale + 8.5)));
  for (let i = 0; i < 16; i++) {
    view.setUint8(at + 2 + i, quantised(values[i]!) | (quantised(values[i + 16]!) << 4));
  }
}

/** The value farthest from zero, with its sign. */
function largest(values: Float32Array): number {
  let result = 0;
  for (const value of values) if (Math.abs(value) > Math.abs(result)) result = value;
  return result;
}

const halfScratch = new Float32Array(1);
const halfBits = new Uint32Array(halfScratch.buffer);

/** Bits of the nearest half float, ties away from zero. */
function toHalf(value: number): number {
  halfScratch[0] = value;
  const bits = halfBits[0]!;
  const sign = (bits >>> 16) & 0x8000;
  const size = Math.abs(value);
  if (size < 2 ** -14) return sign | Math.round(size * 2 ** 24);
  const rounded = (bits & 0x7fffffff) + 0x1000;
  const exponent = (rounded >>> 23) - 112;
  if (exponent > 30) throw new Error(`${value} is beyond half floats`);
  return sign | (exponent << 10) | ((rounded >>> 13) & 0x3ff);
}

async function writeAll(file: FileHandle, bytes: Uint8Array, position: number): Promise<void> {
  for (let done = 0; done < bytes.length; ) {
    done += (await file.write(bytes, done, bytes.length - done, position + done)).bytesWritten;
  }
}

/** Little-endian values one after the other. */
class Bytes {
  private readonly parts: Uint8Array[] = [];
  private length = 0;

  text(text: string): this {
    const bytes = new TextEncoder().encode(text);
    this.parts.push(bytes);
    this.length += bytes.length;
    return this;
  }

  string(text: string): this {
    return this.u64(Buffer.byteLength(text)).text(text);
  }

  u32(value: number): this {
    return this.number(4, (view) => view.setUint32(0, value, true));
  }

  u64(value: number): this {
    return this.number(8, (view) => view.setBigUint64(0, BigInt(value), true));
  }

  f32(value: number): this {
    return this.number(4, (view) => view.setFloat32(0, value, true));
  }

  /** All of it, with zeros up to a multiple of `step`. */
  padded(step: number): Uint8Array {
    const out = new Uint8Array(Math.ceil(this.length / step) * step);
    let at = 0;
    for (const part of this.parts) {
      out.set(part, at);
      at += part.length;
    }
    return out;
  }

  private number(size: number, set: (view: DataView) => void): this {
    const bytes = new Uint8Array(size);
    set(new DataView(bytes.buffer));
    this.parts.push(bytes);
    this.length += size;
    return this;
  }
}
