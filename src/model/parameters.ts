/** The parameters of a Mamba-2 model by their Hugging Face names, and the check of a checkpoint against them. */
import { PicasoError } from "../errors.js";
import { quote } from "./checkpoint/checkpoint-errors.js";
import type { TensorSource } from "./checkpoint/tensor-source.js";
import type { Mamba2Config } from "./config.js";

/** Shape of every parameter; `lm_head.weight` only where the embeddings are not tied. */
export function parameterShapes(config: Mamba2Config): Map<string, number[]> {
  const { hiddenSize, innerSize, heads, convDim, convKernel, vocabSize } = config;
  const projected = innerSize + convDim + heads;
  const shapes: [string, number[]][] = [["backbone.embeddings.weight", [vocabSize, hiddenSize]]];
  for (let layer = 0; layer < config.layers; layer++) {
    const name = `backbone.layers.${layer}`;
    const mixer = `${name}.mixer`;
    shapes.push([`${name}.norm.weight`, [hiddenSize]]);
    shapes.push([`${mixer}.in_proj.weight`, [projected, hiddenSize]]);
    if (config.useBias) shapes.push([`${mixer}.in_proj.bias`, [projected]]);
    shapes.push([`${mixer}.conv1d.weight`, [convDim, 1, convKernel]]);
    if (config.useConvBias) shapes.push([`${mixer}.conv1d.bias`, [convDim]]);
    shapes.push([`${mixer}.dt_bias`, [heads]], [`${mixer}.A_log`, [heads]], [`${mixer}.D`, [heads]]);
    shapes.push([`${mixer}.norm.weight`, [innerSize]]);
    shapes.push([`${mixer}.out_proj.weight`, [hiddenSize, innerSize]]);
    if (config.useBias) shapes.push([`${mixer}.out_proj.bias`, [hiddenSize]]);
  }
  shapes.push(["backbone.norm_f.weight", [hiddenSize]]);
  if (!config.tiedEmbeddings) shapes.push(["lm_head.weight", [vocabSize, hiddenSize]]);
  return new Map(shapes);
}

/**
 * Throws `bad-file` unless the checkpoint holds exactly these parameters in these shapes. A tied checkpoint may carry
 * a copy of the embeddings as `lm_head.weight`. `where` names the checkpoint where it lacks a tensor.
 */
export function checkParameters(source: TensorSource, config: Mamba2Config, where: string): void {
  const shapes = parameterShapes(config);
  const next = "config.json and the weights do not fit each other: download both again from the same place.";
  for (const [name, shape] of shapes) {
    const tensor = source.tensors.get(name);
    if (tensor && `${tensor.shape}` === `${shape}`) continue;
    throw new PicasoError("bad-file", {
      where: `${tensor ? source.where(name) : where}, tensor ${name}`,
      expected: `shape [${shape}] by config.json`,
      found: tensor ? `[${tensor.shape}]` : "no such tensor",
      next,
    });
  }
  for (const name of source.tensors.keys()) {
    if (shapes.has(name) || name === "lm_head.weight") continue;
    throw new PicasoError("bad-file", {
      where: `${source.where(name)}, tensor ${quote(name)}`,
      expected: `only the ${shapes.size} tensors of a Mamba-2 with ${config.layers} layers by config.json`,
      found: "one more",
      next,
    });
  }
}
