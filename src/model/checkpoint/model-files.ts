/** Which files make a model folder: configuration, weights in one of their layouts, tokenizer, and our own form. */
import { join, resolve } from "node:path";
import { type Mamba2Config, mamba2Config, parsePythonJson } from "../config.js";
import { fromMambaSsmConfig, isMambaSsmConfig, withHfNames } from "./mamba-ssm-config.js";
import { openPytorchBin } from "./pytorch-bin.js";
import { openSafetensors, openShardedSafetensors, readShardIndex } from "./safetensors-source.js";
import type { TensorSource } from "./tensor-source.js";
import { fileStats, missing, readText } from "./text-file.js";

export interface ModelFiles {
  directory: string;
  config: Mamba2Config;
  /** Absolute paths of the weight files; of a sharded checkpoint, the index first. */
  weightFiles: string[];
  tokenizerFile: string;
  /** Path of picaso.json, where the model has one. */
  formFile: string | null;
  openWeights(): Promise<TensorSource>;
}

/** Finds the files of the model in `directory` and reads its configuration; opens no weights. */
export async function findModelFiles(directory: string): Promise<ModelFiles> {
  const folder = resolve(directory);
  const configFile = join(folder, "config.json");
  const configText = await readText(configFile, "config.json of a Mamba-2 model in Hugging Face layout", "config");
  const json = parsePythonJson(configText, configFile);
  const isMambaSsm = isMambaSsmConfig(json);
  const config = mamba2Config(isMambaSsm ? fromMambaSsmConfig(json, configFile) : json, configFile);
  const tokenizerFile = join(folder, "tokenizer.json");
  if (!(await fileStats(tokenizerFile))) throw missing(tokenizerFile, "tokenizer.json beside config.json");
  const formFile = join(folder, "picaso.json");
  return {
    directory: folder,
    config,
    tokenizerFile,
    formFile: (await fileStats(formFile)) ? formFile : null,
    ...(await findWeights(folder, isMambaSsm)),
  };
}

/** The weights as safetensors, else as released with mamba_ssm: `pytorch_model.bin`. */
async function findWeights(
  folder: string,
  isMambaSsm: boolean,
): Promise<Pick<ModelFiles, "weightFiles" | "openWeights">> {
  const single = join(folder, "model.safetensors");
  if (await fileStats(single)) return { weightFiles: [single], openWeights: () => openSafetensors(single) };
  const index = join(folder, "model.safetensors.index.json");
  if (await fileStats(index)) {
    const shardOf = await readShardIndex(index);
    const shards = [...new Set(shardOf.values())].sort().map((name) => join(folder, name));
    return { weightFiles: [index, ...shards], openWeights: () => openShardedSafetensors(index, shardOf) };
  }
  const bin = join(folder, "pytorch_model.bin");
  if (await fileStats(bin)) {
    const openWeights = async () => {
      const source = await openPytorchBin(bin);
      return isMambaSsm ? withHfNames(source, bin) : source;
    };
    return { weightFiles: [bin], openWeights };
  }
  throw missing(single, "model.safetensors, pytorch_model.bin, or model.safetensors.index.json with its shards");
}
