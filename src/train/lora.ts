/**
 * Low-rank adaptation (Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", 2021) of each layer's two
 * projections: `W + (alpha / rank) B A`, where only A [rank, in] and B [out, rank] are trained. B begins at zero, so
 * training begins at the model as it was.
 */
import { PicasoError } from "../errors.js";
import { Random } from "../evaluate/random.js";
import type { Mamba2Config } from "../model/config.js";
import { parameterShapes } from "../model/parameters.js";
import type { HostTensor } from "./parameters.js";

export interface LoraOptions {
  rank: number;
  /** @default twice the rank */
  alpha?: number;
}

const adapted = ["in_proj", "out_proj"];

export function loraScale({ rank, alpha = 2 * rank }: LoraOptions): number {
  return alpha / rank;
}

/** The added parameters, named as PEFT names them: `....in_proj.lora_A.weight`. */
export function loraParameters(config: Mamba2Config, { rank }: LoraOptions, seed: number): Map<string, HostTensor> {
  const shapes = parameterShapes(config);
  const added = new Map<string, HostTensor>();
  for (let layer = 0; layer < config.layers; layer++) {
    for (const [place, projection] of adapted.entries()) {
      const base = `backbone.layers.${layer}.mixer.${projection}`;
      const [out, input] = shapes.get(`${base}.weight`)! as [number, number];
      if (!Number.isInteger(rank) || rank < 1 || rank > Math.min(out, input)) {
        throw new PicasoError("bad-argument", {
          where: "lora.rank",
          expected: `a whole number from 1 to ${Math.min(out, input)}`,
          found: `${rank}`,
          next: "Pass such a rank; 8 to 64 are usual.",
        });
      }
      // Uniform with the variance 1 / (3 in) that linear layers usually begin with.
      const random = Random.of(seed, layer, place);
      const a = Float32Array.from({ length: rank * input }, () => (2 * random.float() - 1) / Math.sqrt(input));
      added.set(`${base}.lora_A.weight`, { shape: [rank, input], data: a });
      added.set(`${base}.lora_B.weight`, { shape: [out, rank], data: new Float32Array(out * rank) });
    }
  }
  return added;
}
