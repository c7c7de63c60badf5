/**
 * The operations that a Mamba-2 model is written in (mamba2.ts). An engine provides them over its own kind of tensor,
 * so that the wiring of a block is read in one place, whichever engine runs it.
 *
 * Letters: B batch, T tokens, H heads, P head dimension, N state size, G groups, W convolution width kept.
 * Parameters are named as in Hugging Face checkpoints; linear weights are [out, in].
 */
export interface Operations<T> {
  /** Rows of `[vocabulary, D]` by token id: [B, T] -> [B, T, D]. */
  embed(tokens: T, weight: string): T;

  /**
   * `x W^T + b` whose outputs are cut along the last axis into `sizes`: [B, T, D] -> [B, T, size] each. The engine
   * chooses between one product and several.
   */
  linear(x: T, weight: string, bias: string | null, sizes: readonly number[]): T[];

  /** `x / sqrt(mean(x^2) + epsilon) * weight` over the last axis. */
  rmsNorm(x: T, weight: string, epsilon: number): T;

  /**
   * `rmsNorm(x * silu(gate))`: Mamba-2 gates before it normalises, here each of `groups` equal parts of the last axis
   * on its own (one part in Hugging Face's models, one for each group of heads in mamba_ssm's).
   */
  gatedNorm(x: T, gate: T, weight: string, epsilon: number, groups: number): T;

  add(a: T, b: T): T;

  /** Cuts the last axis into parts of these sizes. */
  split(x: T, sizes: readonly number[]): T[];

  /**
   * Depthwise causal convolution along T, then silu: x [B, T, C], past [B, W, C] (oldest first).
   * `present` holds the last W inputs, those of `past` included, and leaves padding tokens out.
   */
  causalConv(x: T, past: T, weight: string, bias: string | null): { output: T; present: T };

  /** `clamp(softplus(raw + bias), limit)`, and 0 at padding tokens: [B, T, H]. */
  timeStep(raw: T, bias: string, limit: readonly [number, number]): T;

  /** Log of the transition, `-exp(A_log) * dt`: [B, T, H]. */
  logTransition(dt: T, aLog: string): T;

  /** Multiplies the P values of each head by that head's number: x [B, T, H*P], scale [B, T, H]. */
  scaleHeads(x: T, scale: T): T;

  /** The same with one number per head from the checkpoint, [H]. */
  scaleHeadsBy(x: T, weight: string): T;

  /**
   * The recurrence `S_t = exp(logA_t) S_{t-1} + B_t (x) value_t`, `y_t = C_t^T S_t` (Mamba-2, arXiv 2405.21060, eq. 16)
   * over T: c and b [B, T, G*N], value [B, T, H*P], logA [B, T, H], past [B, H, N, P]. The B and C of a group serve
   * H/G consecutive heads.
   */
  scan(inputs: { c: T; b: T; value: T; logA: T; past: T }): { output: T; present: T };

  /** Sum over T: [B, T, H] -> [B, H]. */
  sumOverTokens(x: T): T;
}

/** What a block needs of them: all but the embedding. */
export type BlockOperations<T> = Omit<Operations<T>, "embed">;
