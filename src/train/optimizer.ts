/**
 * AdamW (Loshchilov and Hutter, "Decoupled Weight Decay Regularization", 2019) on plain arrays, with clipping of the
 * gradient's global norm.
 */
import type { HostTensor } from "./parameters.js";

export interface OptimizerOptions {
  /** @default 0.9 */
  beta1?: number;
  /** @default 0.999 */
  beta2?: number;
  /** @default 1e-8 */
  epsilon?: number;
  /** Share of a weight taken away at each step, times the learning rate; of matrices only. @default 0 */
  weightDecay?: number;
  /** Longest gradient, as the norm over all parameters; longer ones are shortened to it. @default 1 */
  clipNorm?: number;
}

/** Running means of the gradient and of its square. */
export interface Moments {
  m: Float32Array;
  v: Float32Array;
}

export class AdamW {
  private readonly options: Required<OptimizerOptions>;
  /** By parameter name. */
  readonly moments: ReadonlyMap<string, Moments>;

  constructor(
    private readonly parameters: ReadonlyMap<string, HostTensor>,
    { beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8, weightDecay = 0, clipNorm = 1 }: OptimizerOptions = {},
  ) {
    this.options = { beta1, beta2, epsilon, weightDecay, clipNorm };
    this.moments = new Map(
      [...parameters].map(
        ([
          name,
          {
            data: { length },
          },
        ]) => {
          return [name, { m: new Float32Array(length), v: new Float32Array(length) }];
        },
      ),
    );
  }

  /**
   * Changes the parameters in place by their gradients; `step` counts from 1. Returns the gradient's norm before
   * clipping; where that is not finite, nothing is changed.
   */
  step(gradients: ReadonlyMap<string, Float32Array>, step: number, learningRate: number): number {
    const { beta1, beta2, epsilon, weightDecay, clipNorm } = this.options;
    const norm = globalNorm(gradients);
    if (!Number.isFinite(norm)) return norm;
    const scale = norm > clipNorm ? clipNorm / norm : 1;
    const correct1 = 1 / (1 - beta1 ** step);
    const correct2 = 1 / (1 - beta2 ** step);
    for (const [name, { data }] of this.parameters) {
      const gradient = gradients.get(name)!;
      const { m, v } = this.moments.get(name)!;
      const decay = decays(name) ? learningRate * weightDecay : 0;
      for (let i = 0; i < data.length; i++) {
        const g = scale * gradient[i]!;
        const mean = beta1 * m[i]! + (1 - beta1) * g;
        const square = beta2 * v[i]! + (1 - beta2) * g * g;
        m[i] = mean;
        v[i] = square;
        const direction = (mean * correct1) / (Math.sqrt(square * correct2) + epsilon);
        data[i] = data[i]! - decay * data[i]! - learningRate * direction;
      }
    }
    return norm;
  }
}

/** Decay pulls weights towards zero; for norms, biases, decay rates and skips zero is no natural place. */
export function decays(name: string): boolean {
  return !/(norm\w*\.weight|\.bias|_bias|\.A_log|\.D)$/.test(name);
}

function globalNorm(gradients: ReadonlyMap<string, Float32Array>): number {
  let total = 0;
  for (const gradient of gradients.values()) {
    for (let i = 0; i < gradient.length; i++) total += gradient[i]! ** 2;
  }
  return Math.sqrt(total);
}
