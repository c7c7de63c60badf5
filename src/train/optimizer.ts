/**
 * AdamW (Loshchilov and Hutter, "Decoupled Weight Decay Regularization", 2019) over the trained parameters, with
 * clipping of the gradient's global norm. Moments live on the engine.
 */
import { blockUntilReady, jit, np, type Tensor, tree } from "./jax.js";
import type { GradientSums, HostTensor, TrainedParameters } from "./parameters.js";

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

type Moments = { m: Tensor; v: Tensor };

export class AdamW {
  private readonly options: Required<OptimizerOptions>;
  private readonly moments = new Map<string, Moments>();
  private readonly update: (p: Tensor, moments: Moments, g: Tensor, numbers: Tensor) => Moments & { p: Tensor };

  constructor(
    private readonly parameters: TrainedParameters,
    options: OptimizerOptions = {},
  ) {
    this.options = { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weightDecay: 0, clipNorm: 1, ...options };
    for (const name of parameters.trained) {
      const { shape } = parameters.get(name);
      this.moments.set(name, { m: np.zeros(shape), v: np.zeros(shape) });
    }
    const { beta1, beta2, epsilon } = this.options;
    this.update = jit((p: Tensor, moments: Moments, g: Tensor, numbers: Tensor) => {
      const [scale, rate, decay, correct1, correct2] = Array.from({ length: 5 }, (_, i) => numbers.ref.slice(i)) as [
        Tensor,
        Tensor,
        Tensor,
        Tensor,
        Tensor,
      ];
      const gradient = g.mul(scale);
      const m = moments.m.mul(beta1).add(gradient.ref.mul(1 - beta1));
      const v = moments.v.mul(beta2).add(np.square(gradient).mul(1 - beta2));
      const direction = m.ref.mul(correct1).div(np.sqrt(v.ref.mul(correct2)).add(epsilon));
      return { p: p.ref.sub(direction.add(p.mul(decay)).mul(rate)), m, v };
    });
  }

  /** Changes the parameters by the gradient; `step` counts from 1. Returns the gradient's norm before clipping. */
  async step(sums: GradientSums, step: number, learningRate: number): Promise<number> {
    const { beta1, beta2, weightDecay, clipNorm } = this.options;
    const norm = await gradientNorm(sums);
    const scale = norm > clipNorm ? clipNorm / norm : 1;
    for (const [name, gradient] of sums.entries()) {
      const decay = decays(name) ? weightDecay : 0;
      const numbers = [scale, learningRate, decay, 1 / (1 - beta1 ** step), 1 / (1 - beta2 ** step)];
      const moments = this.moments.get(name)!;
      const next = this.update(
        this.parameters.get(name).ref,
        moments,
        gradient.ref,
        np.array(Float32Array.from(numbers)),
      );
      await blockUntilReady(next);
      this.parameters.set(name, next.p);
      this.moments.set(name, { m: next.m, v: next.v });
    }
    return norm;
  }

  /** The moments by parameter name; still owned here. */
  entries(): [string, Moments][] {
    return [...this.moments];
  }

  /** Puts moments back, as after reading a checkpoint. */
  restore(name: string, moments: { m: HostTensor; v: HostTensor }): void {
    const place = ({ data, shape }: HostTensor) => np.array(data).reshape([...shape]);
    tree.dispose(this.moments.get(name));
    this.moments.set(name, { m: place(moments.m), v: place(moments.v) });
  }

  dispose(): void {
    for (const moments of this.moments.values()) tree.dispose(moments);
    this.moments.clear();
  }
}

/** Decay pulls weights towards zero; for norms, biases, decay rates and skips zero is no natural place. */
export function decays(name: string): boolean {
  return !/(norm\w*\.weight|\.bias|_bias|\.A_log|\.D)$/.test(name);
}

async function gradientNorm(sums: GradientSums): Promise<number> {
  const [total] = await sumOfSquares(sums.entries().map(([, tensor]) => tensor.ref)).data();
  return Math.sqrt(Number(total));
}

const sumOfSquares = jit((tensors: Tensor[]): Tensor => {
  // Rows first: a sum into a single number is one thread's work.
  const each = tensors.map((x) =>
    np
      .square(x.reshape([x.shape[0]!, -1]))
      .sum(1)
      .sum(),
  );
  return each.reduce((a, b) => a.add(b));
});
