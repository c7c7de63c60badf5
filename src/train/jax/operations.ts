/**
 * The operations of a Mamba-2 model on jax-js arrays, differentiable. Only inside `jit`; every operation borrows its
 * inputs (see jax.ts).
 *
 * Letters: B batch, T tokens, H heads, P head dimension, N state size, W convolution width kept, C its channels.
 */
import type { Mamba2Config } from "../../model/config.js";
import type { Operations } from "../../model/operations.js";
import { silu, softplus } from "./functions.js";
import { contract, np, type Tensor, type Tensors } from "./jax.js";
import { chunkedScan } from "./scan.js";

/** Tokens of a chunk of the scan: within it work grows with the square, between chunks with the state's size. */
export const SCAN_CHUNK = 128;

export interface JaxOperationsInit {
  /** Parameters by the names that the model's description uses. */
  parameters: Tensors;
  config: Mamba2Config;
  /** [B] int32, how many of the T tokens of each sequence are real; the rest is padding on the right. */
  lengths: Tensor;
  /** Set where every state given is the zero state: its part of the scan is left out. */
  fromZero?: boolean;
  /** @default SCAN_CHUNK */
  chunk?: number;
}

export class JaxOperations implements Operations<Tensor> {
  constructor(private readonly init: JaxOperationsInit) {}

  embed(tokens: Tensor, weight: string): Tensor {
    return np.take(this.parameter(weight), tokens.ref, 0);
  }

  linear(x: Tensor, weight: string, bias: string | null, sizes: readonly number[]): Tensor[] {
    const [batch, tokens, width] = x.shape as [number, number, number];
    const rows = x.ref.reshape([batch * tokens, width]);
    let product = contract("td,od->to", rows, this.parameter(weight));
    if (bias !== null) product = product.add(this.parameter(bias));
    return this.split(product.reshape([batch, tokens, product.shape[1]!]), sizes);
  }

  rmsNorm(x: Tensor, weight: string, epsilon: number): Tensor {
    const meanSquare = np.square(x.ref).mean(-1, { keepdims: true });
    return x.ref.mul(np.reciprocal(np.sqrt(meanSquare.add(epsilon)))).mul(this.parameter(weight));
  }

  gatedNorm(x: Tensor, gate: Tensor, weight: string, epsilon: number): Tensor {
    return this.rmsNorm(x.ref.mul(silu(gate)), weight, epsilon);
  }

  add(a: Tensor, b: Tensor): Tensor {
    return a.ref.add(b.ref);
  }

  split(x: Tensor, sizes: readonly number[]): Tensor[] {
    let sum = 0;
    const borders = sizes.slice(0, -1).map((size) => {
      sum += size;
      return sum;
    });
    return borders.length === 0 ? [x.ref] : np.split(x.ref, borders, -1);
  }

  causalConv(x: Tensor, past: Tensor, weight: string, bias: string | null): { output: Tensor; present: Tensor } {
    const [batch, tokens, channels] = x.shape as [number, number, number];
    const width = past.shape[1]!;
    const whole = np.concatenate([past.ref, x.ref], 1);
    const kernel = this.parameter(weight).reshape([channels, width + 1]);
    let sum: Tensor | null = null;
    for (let tap = 0; tap <= width; tap++) {
      const term = whole.ref.slice([], [tap, tap + tokens]).mul(kernel.ref.slice([], tap));
      sum = sum ? sum.add(term) : term;
    }
    const output = bias === null ? sum! : sum!.add(this.parameter(bias));
    // The W inputs before position `length` of the sequence stand in `whole` from `length` on.
    const first = np
      .arange(batch)
      .mul(width + tokens)
      .add(this.init.lengths.ref);
    const rows = first.reshape([batch, 1]).add(np.arange(width).reshape([1, width]));
    const present = np.take(whole.reshape([batch * (width + tokens), channels]), rows, 0);
    return { output: silu(output), present };
  }

  timeStep(raw: Tensor, bias: string, [low, high]: readonly [number, number]): Tensor {
    let dt = softplus(raw.ref.add(this.parameter(bias)));
    if (low > 0) dt = np.maximum(dt, low);
    if (high < Number.POSITIVE_INFINITY) dt = np.minimum(dt, high);
    const [batch, tokens] = dt.shape as [number, number];
    const isToken = np
      .arange(tokens)
      .reshape([1, tokens, 1])
      .less(this.init.lengths.ref.reshape([batch, 1, 1]));
    return dt.mul(isToken.astype(np.float32));
  }

  logTransition(dt: Tensor, aLog: string): Tensor {
    return dt.ref.mul(np.exp(this.parameter(aLog)).neg());
  }

  scaleHeads(x: Tensor, scale: Tensor): Tensor {
    const [batch, tokens, width] = x.shape as [number, number, number];
    const { heads, headDim } = this.init.config;
    const scaled = x.ref.reshape([batch, tokens, heads, headDim]).mul(scale.ref.reshape([batch, tokens, heads, 1]));
    return scaled.reshape([batch, tokens, width]);
  }

  scaleHeadsBy(x: Tensor, weight: string): Tensor {
    const { heads } = this.init.config;
    return this.scaleHeads(
      x,
      np.broadcastTo(this.parameter(weight).reshape([1, 1, heads]), [...x.shape.slice(0, 2), heads]),
    );
  }

  scan(inputs: { c: Tensor; b: Tensor; value: Tensor; logA: Tensor; past: Tensor }): {
    output: Tensor;
    present: Tensor;
  } {
    const { config, fromZero, chunk = SCAN_CHUNK } = this.init;
    return chunkedScan({ ...inputs, past: fromZero ? null : inputs.past }, config, chunk);
  }

  sumOverTokens(x: Tensor): Tensor {
    return x.ref.sum(1);
  }

  private parameter(name: string): Tensor {
    const tensor = this.init.parameters[name];
    if (!tensor) throw new Error(`mamba2.ts uses ${name}, which is not among the parameters`);
    return tensor.ref;
  }
}
