/**
 * Checkpoints in mamba_ssm's own terms, as state-spaces/mamba2-* are released: its config.json and tensor names turned
 * into those of Hugging Face's `mamba2`. Defaults are those of mamba_ssm 2 (MambaConfig and the Mamba2 module).
 *
 * A key that changes what the model computes, and that `mamba2` has no place for, is refused by name.
 */
import { PicasoError } from "../../errors.js";
import { quote } from "./checkpoint-errors.js";
import type { CheckpointTensor, TensorSource } from "./tensor-source.js";

/** The keys of a Hugging Face `mamba2` config.json that describe the model. */
export interface HfMamba2Json {
  model_type: "mamba2";
  architectures: ["Mamba2ForCausalLM"];
  hidden_size: number;
  num_hidden_layers: number;
  num_heads: number;
  head_dim: number;
  state_size: number;
  conv_kernel: number;
  expand: number;
  n_groups: number;
  /** Ours: parts of the inner width with a gated norm each; transformers knows one alone. */
  norm_groups?: number;
  chunk_size: number;
  vocab_size: number;
  layer_norm_epsilon: number;
  rms_norm: true;
  hidden_act: "silu";
  residual_in_fp32: boolean;
  time_step_limit: [number, number];
  use_bias: boolean;
  use_conv_bias: boolean;
  tie_word_embeddings: boolean;
  /** `<|endoftext|>`, where the vocabulary is that of the GPT-NeoX tokenizer; mamba_ssm itself names no tokens. */
  bos_token_id?: 0;
  eos_token_id?: 0;
}

/** Tokens of the GPT-NeoX tokenizer, before padding. */
const gptNeoxTokens = 50277;

/** Both of mamba_ssm's norms have it built in. */
const normEpsilon = 1e-5;

/** How the weights were first filled, and which kernel runs: nothing that a trained model computes depends on them. */
const withoutEffect = ["conv_init", "A_init_range", "dt_min", "dt_max", "dt_init_floor"];
const kernelChoices = ["use_mem_eff_path", "sequence_parallel"];

/** True for a parsed config.json that is mamba_ssm's rather than Hugging Face's. */
export function isMambaSsmConfig(value: unknown): boolean {
  return isObject(value) && !("model_type" in value) && "d_model" in value && "n_layer" in value;
}

/**
 * mamba_ssm's parsed config.json in Hugging Face's keys. Throws `unsupported` for Mamba-1, attention or MLP layers
 * and keys it does not know, `bad-file` for values that cannot be.
 */
export function fromMambaSsmConfig(value: unknown, where: string): HfMamba2Json {
  const model = new Keys(value, where);
  const hiddenSize = model.count("d_model");
  const layers = model.count("n_layer");
  const tokens = model.count("vocab_size");
  const multiple = model.count("pad_vocab_size_multiple", 8);
  model.require("d_intermediate", 0, "blocks without an MLP");
  model.require("attn_layer_idx", [], "no attention layers");
  model.require("attn_cfg", {}, "no attention layers");
  model.require("rms_norm", true, "RMS norms");
  const residualInF32 = model.flag("residual_in_fp32", true);
  model.flag("fused_add_norm", true);
  const tied = model.flag("tie_embeddings", true);

  const ssm = new Keys(model.take("ssm_cfg") ?? {}, `${where}, ssm_cfg`);
  ssm.require("layer", "Mamba2", "Mamba-2 layers", "Mamba1");
  const stateSize = ssm.count("d_state", 128);
  const kernel = ssm.count("d_conv", 4);
  const expand = ssm.count("expand", 2);
  const headDim = ssm.count("headdim", 64);
  const innerSize = expand * hiddenSize;
  const groups = ssm.count("ngroups", 1);
  const ssmSize = ssm.take("d_ssm") ?? null;
  if (ssmSize !== null && ssmSize !== innerSize) {
    ssm.refuse("d_ssm", `null or expand x d_model = ${innerSize}, blocks without an MLP`, ssmSize);
  }
  ssm.require("D_has_hdim", false, "one D for each head");
  ssm.require("rmsnorm", true, "the gated RMS norm");
  ssm.require("norm_before_gate", false, "the gate before the norm");
  const limit = ssm.interval("dt_limit");
  const bias = ssm.flag("bias", false);
  const convBias = ssm.flag("conv_bias", true);
  const chunkSize = ssm.count("chunk_size", 256);
  for (const key of [...withoutEffect, ...kernelChoices]) ssm.take(key);
  ssm.finish();
  model.finish();

  if (innerSize % headDim !== 0) {
    ssm.fail("headdim", `a divisor of expand x d_model = ${innerSize}`, headDim);
  }
  if ((innerSize / headDim) % groups !== 0) {
    ssm.fail("ngroups", `a divisor of the ${innerSize / headDim} heads`, groups);
  }
  return {
    model_type: "mamba2",
    architectures: ["Mamba2ForCausalLM"],
    hidden_size: hiddenSize,
    num_hidden_layers: layers,
    num_heads: innerSize / headDim,
    head_dim: headDim,
    state_size: stateSize,
    conv_kernel: kernel,
    expand,
    n_groups: groups,
    // mamba_ssm normalises each group on its own (RMSNormGated with group_size = d_ssm / ngroups).
    ...(groups > 1 ? { norm_groups: groups } : {}),
    chunk_size: chunkSize,
    vocab_size: Math.ceil(tokens / multiple) * multiple,
    layer_norm_epsilon: normEpsilon,
    rms_norm: true,
    hidden_act: "silu",
    residual_in_fp32: residualInF32,
    time_step_limit: limit,
    use_bias: bias,
    use_conv_bias: convBias,
    tie_word_embeddings: tied,
    ...(tokens === gptNeoxTokens ? { bos_token_id: 0, eos_token_id: 0 } : {}),
  };
}

/** Parameters of a Mamba-2 block, whose names are the same on both sides. */
const blockTensor =
  /^backbone\.layers\.(0|[1-9]\d{0,3})\.(norm\.weight|mixer\.(in_proj\.(weight|bias)|conv1d\.(weight|bias)|dt_bias|A_log|D|norm\.weight|out_proj\.(weight|bias)))$/;

const otherTensors = new Map([
  ["backbone.embedding.weight", "backbone.embeddings.weight"],
  ["backbone.norm_f.weight", "backbone.norm_f.weight"],
  ["lm_head.weight", "lm_head.weight"],
]);

/** Hugging Face's name for one of mamba_ssm's tensors. Throws `unsupported` for one that a Mamba-2 model has not. */
export function hfTensorName(name: string, where: string): string {
  const known = blockTensor.test(name) ? name : otherTensors.get(name);
  if (known !== undefined) return known;
  throw new PicasoError("unsupported", {
    where: `${where}, tensor ${quote(name)}`,
    expected: "the tensors of mamba_ssm's Mamba-2 language model",
    found: "another",
    next: "Use a checkpoint of Mamba-2 blocks alone, such as state-spaces/mamba2-130m.",
  });
}

/** `source`, a checkpoint of mamba_ssm, under Hugging Face's names. Closing either closes both. */
export function withHfNames(source: TensorSource, where: string): TensorSource {
  const original = new Map<string, string>();
  const tensors = new Map<string, CheckpointTensor>();
  for (const [name, tensor] of source.tensors) {
    const renamed = hfTensorName(name, where);
    original.set(renamed, name);
    tensors.set(renamed, { ...tensor, name: renamed });
  }
  // A name of neither side goes through, so that the source itself says it is not there.
  const nameThere = (name: string) => original.get(name) ?? name;
  return {
    tensors,
    where: (name) => source.where(nameThere(name)),
    read: (name, start, end) => source.read(nameThere(name), start, end),
    close: () => source.close(),
  };
}

/** The keys of a JSON object, each taken once; what is left at the end is unknown. */
class Keys {
  private readonly left: Map<string, unknown>;

  constructor(
    value: unknown,
    private readonly where: string,
  ) {
    if (!isObject(value)) {
      throw new PicasoError("bad-file", { where, expected: "a JSON object", found: show(value), next: checkFile });
    }
    this.left = new Map(Object.entries(value));
  }

  /** The value of `key`, or undefined. */
  take(key: string): unknown {
    const value = this.left.get(key);
    this.left.delete(key);
    return value;
  }

  /** A whole number from 1; one without a default must be there. */
  count(key: string, otherwise?: number): number {
    const value = this.take(key) ?? otherwise;
    if (typeof value === "number" && Number.isInteger(value) && value >= 1 && value < 1 << 24) return value;
    return this.fail(key, `a whole number from 1 to ${(1 << 24) - 1}`, value);
  }

  flag(key: string, otherwise: boolean): boolean {
    const value = this.take(key) ?? otherwise;
    if (typeof value === "boolean") return value;
    return this.fail(key, "true or false", value);
  }

  /** Two numbers, lower first, the upper one Infinity by default and in either spelling. */
  interval(key: string): [number, number] {
    const value = this.take(key) ?? [0, Number.POSITIVE_INFINITY];
    const [low, high] = Array.isArray(value) && value.length === 2 ? value.map(readFloat) : [];
    if (low !== undefined && high !== undefined && low >= 0 && low <= high) return [low, high];
    return this.fail(key, "two numbers, lower first, such as [0.0, Infinity]", value);
  }

  /** Refuses anything but `only`, which is also the default unless another is given. */
  require(key: string, only: unknown, meaning: string, otherwise = only): void {
    const value = this.take(key) ?? otherwise;
    if (show(value) !== show(only)) this.refuse(key, `${show(only)}, ${meaning}`, value);
  }

  finish(): void {
    const unknown = [...this.left.keys()];
    if (unknown.length > 0) this.refuse(unknown.slice(0, 5).map(quote).join(", "), "only keys known here", undefined);
  }

  fail(key: string, expected: string, value: unknown): never {
    throw new PicasoError("bad-file", {
      where: `${this.where}, ${key}`,
      expected,
      found: show(value),
      next: checkFile,
    });
  }

  refuse(key: string, expected: string, value: unknown): never {
    throw new PicasoError("unsupported", {
      where: `${this.where}, ${key}`,
      expected,
      found: value === undefined ? "others" : show(value),
      next: "Use a checkpoint of plain Mamba-2 blocks, such as state-spaces/mamba2-130m.",
    });
  }
}

const checkFile = "Check that the file is mamba_ssm's config.json and is complete.";

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** A JSON number, or Infinity as a reader of Python's JSON gives it: `{"__float__": "Infinity"}`. */
function readFloat(value: unknown): number | undefined {
  if (typeof value === "number") return value;
  return isObject(value) && value.__float__ === "Infinity" ? Number.POSITIVE_INFINITY : undefined;
}

function show(value: unknown): string {
  const text = JSON.stringify(value) ?? "nothing";
  return text.length > 80 ? `${text.slice(0, 77)}...` : text;
}
