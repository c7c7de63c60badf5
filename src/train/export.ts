/** Writes a trained model as a folder in Hugging Face layout, which `LanguageModel.load` and transformers open. */
import { copyFile, mkdir, rm, writeFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { PicasoError } from "../errors.js";
import type { ModelFiles } from "../model/checkpoint/model-files.js";
import type { Mamba2Config } from "../model/config.js";
import { parameterShapes } from "../model/parameters.js";
import type { ParameterValues } from "./gradient-engine.js";
import { type TensorToStore, writeShardedTensors } from "./weights-file.js";

export interface ExportOptions {
  /** Form of the weights. Small changes of fine-tuning are lost in bf16's 8 bits of precision. @default "f32" */
  dtype?: "f32" | "bf16";
  /** Most bytes of a weight file. @default 2,000,000,000 */
  maxShardBytes?: number;
}

/**
 * Writes config.json, the weights, tokenizer.json and picaso.json, where the model has one, into `folder`.
 */
export async function exportModel(
  folder: string,
  files: ModelFiles,
  values: ParameterValues,
  { dtype = "f32", maxShardBytes = 2_000_000_000 }: ExportOptions = {},
): Promise<void> {
  const tensors = [...parameterShapes(files.config)].map(([name, shape]): TensorToStore => {
    return { name, shape, dtype: dtype === "bf16" ? "BF16" : "F32", data: values.get(name)! };
  });
  try {
    await mkdir(folder, { recursive: true });
    // Without config.json a folder is no model: it goes first and comes last.
    await rm(join(folder, "config.json"), { force: true });
    await writeShardedTensors(folder, "model", tensors, maxShardBytes);
    for (const path of [files.tokenizerFile, files.formFile]) {
      if (path !== null) await copyFile(path, join(folder, basename(path)));
    }
    const config = JSON.stringify(huggingFaceConfig(files.config, dtype), null, 2);
    await writeFile(join(folder, "config.json"), `${config}\n`, { flush: true });
  } catch (cause) {
    if (PicasoError.isInstance(cause)) throw cause;
    throw new PicasoError("failed", {
      where: folder,
      expected: "to write the trained model there",
      found: cause instanceof Error ? cause.message : String(cause),
      next: "Free disk space or permissions and run the training again: it goes on from its last checkpoint.",
      cause,
    });
  }
}

/** A `mamba2` config.json. A time step limit of (0, infinity) is the default there and is left out. */
function huggingFaceConfig(config: Mamba2Config, dtype: "f32" | "bf16"): Record<string, unknown> {
  const [low, high] = config.timeStepLimit;
  const isUnlimited = low === 0 && high === Number.POSITIVE_INFINITY;
  const { eosTokenIds } = config;
  return {
    architectures: ["Mamba2ForCausalLM"],
    model_type: "mamba2",
    vocab_size: config.vocabSize,
    hidden_size: config.hiddenSize,
    num_hidden_layers: config.layers,
    num_heads: config.heads,
    head_dim: config.headDim,
    state_size: config.stateSize,
    n_groups: config.groups,
    conv_kernel: config.convKernel,
    expand: expansion(config),
    layer_norm_epsilon: config.epsilon,
    hidden_act: "silu",
    ...(isUnlimited ? {} : { time_step_limit: [low, Number.isFinite(high) ? high : { __float__: "Infinity" }] }),
    use_bias: config.useBias,
    use_conv_bias: config.useConvBias,
    tie_word_embeddings: config.tiedEmbeddings,
    ...(config.bosTokenId === null ? {} : { bos_token_id: config.bosTokenId }),
    ...(eosTokenIds.length === 0 ? {} : { eos_token_id: eosTokenIds.length === 1 ? eosTokenIds[0] : eosTokenIds }),
    dtype: dtype === "bf16" ? "bfloat16" : "float32",
  };
}

/** Readers take the integer part of expand x hidden_size: a ratio with a remainder gets a little more than it has. */
function expansion({ innerSize, hiddenSize }: Mamba2Config): number {
  return innerSize % hiddenSize === 0 ? innerSize / hiddenSize : (innerSize + 0.5) / hiddenSize;
}
