/**
 * The operations of a Mamba-2 block on a tape, from which gradients follow.
 *
 * Letters: B batch, T tokens, H heads, P head dimension, W convolution width kept, C its channels, R = B*T rows.
 */

import type { Mamba2Config } from "../../model/config.js";
import type { BlockOperations } from "../../model/operations.js";
import { causalConvolution, rmsNorm, silu } from "../../onnx/network-ops.js";
import type { Shape, Tensor } from "../../onnx/tape.js";
import { add, clip, exp, matMul, mul, neg, reshape, softplus, split, sum } from "../../onnx/tensor-ops.js";
import { type Chunks, chunkedScan, type ScanInputs } from "./scan.js";

/** Gives the parameters of a layer: all of one, or rows `[from, to)` along its first axis. */
export type Parameters = (name: string, rows?: readonly [number, number]) => Tensor;

/** What a graph is told of the sequences of a batch, [B, T], padded on the right. */
export interface SequenceInputs {
  /** 1 at tokens, 0 at padding: [B, T, 1]. */
  isToken: Tensor;
  /** Picks the convolution state from the inputs: [B, W, T], a 1 in a row where it comes from them. */
  tail: Tensor;
  /** Picks what comes from the state before: [B, W, W]. */
  pastTail: Tensor;
  chunks: Chunks;
}

export class DifferentiableOperations implements BlockOperations<Tensor> {
  /** Results of linear layers: what takes longest to compute again. */
  readonly products: Tensor[] = [];

  constructor(
    private readonly config: Mamba2Config,
    private readonly parameter: Parameters,
    private readonly sequences: SequenceInputs,
  ) {}

  linear(x: Tensor, weight: string, bias: string | null, sizes: readonly number[]): Tensor[] {
    // One product per part: nothing is cut apart or put together, and rows of a weight need no copy.
    const rows = reshape(x, ["R", x.shape.at(-1)!]);
    let from = 0;
    return sizes.map((size) => {
      const part = [from, from + size] as const;
      from += size;
      const product = matMul(rows, this.parameter(weight, part), { transB: true });
      const biased = bias === null ? product : add(product, this.parameter(bias, part));
      const result = reshape(biased, x.shape.with(-1, size));
      this.products.push(result);
      return result;
    });
  }

  rmsNorm(x: Tensor, weight: string, epsilon: number): Tensor {
    return rmsNorm(x, this.parameter(weight), epsilon);
  }

  gatedNorm(x: Tensor, gate: Tensor, weight: string, epsilon: number): Tensor {
    return this.rmsNorm(mul(x, silu(gate)), weight, epsilon);
  }

  add(a: Tensor, b: Tensor): Tensor {
    return add(a, b);
  }

  split(x: Tensor, sizes: readonly number[]): Tensor[] {
    return split(x, x.shape.length - 1, sizes);
  }

  causalConv(x: Tensor, past: Tensor, weight: string, bias: string | null): { output: Tensor; present: Tensor } {
    const { tail, pastTail } = this.sequences;
    const convolved = causalConvolution(x, past, this.parameter(weight), bias === null ? null : this.parameter(bias));
    return { output: silu(convolved), present: add(matMul(tail, x), matMul(pastTail, past)) };
  }

  timeStep(raw: Tensor, bias: string, [low, high]: readonly [number, number]): Tensor {
    const dt = softplus(add(raw, this.parameter(bias)));
    const isLimited = low > 0 || high < Number.POSITIVE_INFINITY;
    return mul(isLimited ? clip(dt, low, Math.min(high, 3.4e38)) : dt, this.sequences.isToken);
  }

  logTransition(dt: Tensor, aLog: string): Tensor {
    return mul(dt, neg(exp(this.parameter(aLog))));
  }

  scaleHeads(x: Tensor, scale: Tensor): Tensor {
    const byHead = reshape(x, this.headShape(x));
    return reshape(mul(byHead, reshape(scale, this.headShape(x).with(-1, 1))), x.shape);
  }

  scaleHeadsBy(x: Tensor, weight: string): Tensor {
    const column = reshape(this.parameter(weight), [this.config.heads, 1]);
    return reshape(mul(reshape(x, this.headShape(x)), column), x.shape);
  }

  /** States are [B, G, N, P H/G] here, see scan.ts. */
  scan(inputs: ScanInputs): { output: Tensor; present: Tensor } {
    return chunkedScan(inputs, this.config, this.sequences.chunks);
  }

  sumOverTokens(x: Tensor): Tensor {
    return reshape(sum(x, [1]), [x.shape[0]!, this.config.heads]);
  }

  private headShape(x: Tensor): Shape {
    const { heads, headDim } = this.config;
    return [...x.shape.slice(0, -1), heads, headDim];
  }
}
