/**
 * Low-rank adaptation (Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", 2021) of each layer's two
 * projections: `W + (alpha / rank) B A`, where only A [rank, in] and B [out, rank] are trained. B begins at zero, so
 * training begins at the model as it was. The engine runs the sum and gives the gradient G by it, from which those by
 * the factors follow: `scale * B^T G` by A, `scale * G A^T` by B.
 */
import { PicasoError } from "../errors.js";
import { Random } from "../evaluate/random.js";
import type { ParameterValues } from "./gradient-engine.js";
import type { HostTensor, TrainableParameters } from "./parameters.js";

export interface LoraOptions {
  rank: number;
  /** @default twice the rank */
  alpha?: number;
}

const adapted = /\.mixer\.(in_proj|out_proj)\.weight$/;

/** A weight with its factors, and their sum, which is what the engine runs. */
interface AdaptedWeight {
  weight: HostTensor;
  a: HostTensor;
  b: HostTensor;
  sum: Float32Array;
}

/** The factors are named as PEFT names them: `....in_proj.lora_A.weight`. */
export class LowRankParameters implements TrainableParameters {
  readonly trained = new Map<string, HostTensor>();
  readonly wanted: ReadonlySet<string>;
  private readonly adapted = new Map<string, AdaptedWeight>();
  private readonly model: ParameterValues;
  private readonly scale: number;
  private readonly rank: number;

  constructor(frozen: ReadonlyMap<string, HostTensor>, { rank, alpha = 2 * rank }: LoraOptions, seed: number) {
    this.rank = rank;
    this.scale = alpha / rank;
    const model = new Map([...frozen].map(([name, { data }]) => [name, data]));
    for (const [name, weight] of frozen) {
      if (!adapted.test(name)) continue;
      const [out, input] = weight.shape as [number, number];
      checkRank(rank, Math.min(out, input));
      // Uniform with the variance 1 / (3 in) that linear layers usually begin with.
      const random = Random.of(seed, this.adapted.size);
      const values = Float32Array.from({ length: rank * input }, () => (2 * random.float() - 1) / Math.sqrt(input));
      const a = { shape: [rank, input], data: values };
      const b = { shape: [out, rank], data: new Float32Array(out * rank) };
      const sum = weight.data.slice();
      this.adapted.set(name, { weight, a, b, sum });
      const base = name.slice(0, -".weight".length);
      this.trained.set(`${base}.lora_A.weight`, a).set(`${base}.lora_B.weight`, b);
      model.set(name, sum);
    }
    this.model = model;
    this.wanted = new Set(this.adapted.keys());
  }

  values(): ParameterValues {
    const { rank, scale } = this;
    for (const { weight, a, b, sum } of this.adapted.values()) {
      const [out, input] = weight.shape as [number, number];
      sum.set(weight.data);
      for (let o = 0; o < out; o++) {
        const row = sum.subarray(o * input, (o + 1) * input);
        for (let r = 0; r < rank; r++) addScaled(row, scale * b.data[o * rank + r]!, a.data, r * input);
      }
    }
    return this.model;
  }

  gradients(ofModel: ReadonlyMap<string, Float32Array>): ReadonlyMap<string, Float32Array> {
    const { rank, scale } = this;
    const gradients = new Map<string, Float32Array>();
    for (const [name, { weight, a, b }] of this.adapted) {
      const [out, input] = weight.shape as [number, number];
      const ofSum = ofModel.get(name)!;
      const ofA = new Float32Array(a.data.length);
      const ofB = new Float32Array(b.data.length);
      for (let o = 0; o < out; o++) {
        for (let r = 0; r < rank; r++) {
          addScaled(ofA.subarray(r * input, (r + 1) * input), scale * b.data[o * rank + r]!, ofSum, o * input);
          ofB[o * rank + r] = scale * dot(ofSum, o * input, a.data, r * input, input);
        }
      }
      const base = name.slice(0, -".weight".length);
      gradients.set(`${base}.lora_A.weight`, ofA).set(`${base}.lora_B.weight`, ofB);
    }
    return gradients;
  }
}

function addScaled(sum: Float32Array, factor: number, values: Float32Array, start: number): void {
  if (factor === 0) return;
  for (let i = 0; i < sum.length; i++) sum[i] = sum[i]! + factor * values[start + i]!;
}

function dot(x: Float32Array, xStart: number, y: Float32Array, yStart: number, length: number): number {
  let sum = 0;
  for (let i = 0; i < length; i++) sum += x[xStart + i]! * y[yStart + i]!;
  return sum;
}

function checkRank(rank: number, most: number): void {
  if (Number.isInteger(rank) && rank >= 1 && rank <= most) return;
  throw new PicasoError("bad-argument", {
    where: "lora.rank",
    expected: `a whole number from 1 to ${most}`,
    found: `${rank}`,
    next: "Pass such a rank; 8 to 64 are usual.",
  });
}
