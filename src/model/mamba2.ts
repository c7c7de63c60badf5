/**
 * Mamba-2 (arXiv 2405.21060), described once for every engine: embedding, L residual blocks, final norm.
 */
import type { Mamba2Config } from "./config.js";
import type { BlockOperations, Operations } from "./operations.js";

/** State of one layer in a batch: ssm [B, H, N, P], conv [B, W, C]. */
export interface LayerState<T> {
  ssm: T;
  conv: T;
}

export interface Mamba2Output<T> {
  /** Normalised hidden states, [B, T, D]: logits are their product with the output embedding. */
  hidden: T;
  present: LayerState<T>[];
  /** Per layer, the sum of log transitions over the tokens: [B, H]. */
  logDecay: T[];
}

/** Runs `tokens` [B, T] from the states `past`, one per layer. */
export function mamba2<T>(ops: Operations<T>, config: Mamba2Config, tokens: T, past: LayerState<T>[]): Mamba2Output<T> {
  let residual = ops.embed(tokens, "backbone.embeddings.weight");
  const present: LayerState<T>[] = [];
  const logDecay: T[] = [];
  for (const [index, state] of past.entries()) {
    const layer = mamba2Layer(ops, config, `backbone.layers.${index}`, residual, state);
    residual = layer.residual;
    present.push(layer.present);
    logDecay.push(layer.logDecay);
  }
  return { hidden: ops.rmsNorm(residual, "backbone.norm_f.weight", config.epsilon), present, logDecay };
}

/** One residual block, whose parameters' names begin with `name`: residual [B, T, D], logDecay [B, H]. */
export function mamba2Layer<T>(
  ops: BlockOperations<T>,
  config: Mamba2Config,
  name: string,
  residual: T,
  past: LayerState<T>,
): { residual: T; present: LayerState<T>; logDecay: T } {
  const normed = ops.rmsNorm(residual, `${name}.norm.weight`, config.epsilon);
  const mixed = mixer(ops, config, `${name}.mixer`, normed, past);
  return { residual: ops.add(residual, mixed.output), present: mixed.present, logDecay: mixed.logDecay };
}

function mixer<T>(ops: BlockOperations<T>, config: Mamba2Config, name: string, x: T, past: LayerState<T>) {
  const { innerSize, heads, groups, stateSize, convDim, epsilon } = config;
  const bias = (part: string, present: boolean) => (present ? `${name}.${part}.bias` : null);

  const [gate, convIn, dtRaw] = ops.linear(x, `${name}.in_proj.weight`, bias("in_proj", config.useBias), [
    innerSize,
    convDim,
    heads,
  ]) as [T, T, T];
  const conv = ops.causalConv(convIn, past.conv, `${name}.conv1d.weight`, bias("conv1d", config.useConvBias));
  const [u, b, c] = ops.split(conv.output, [innerSize, groups * stateSize, groups * stateSize]) as [T, T, T];

  const dt = ops.timeStep(dtRaw, `${name}.dt_bias`, config.timeStepLimit);
  const logA = ops.logTransition(dt, `${name}.A_log`);
  const scan = ops.scan({ c, b, value: ops.scaleHeads(u, dt), logA, past: past.ssm });
  const y = ops.add(scan.output, ops.scaleHeadsBy(u, `${name}.D`));

  const normed = ops.gatedNorm(y, gate, `${name}.norm.weight`, epsilon, config.normGroups ?? 1);
  const [output] = ops.linear(normed, `${name}.out_proj.weight`, bias("out_proj", config.useBias), [
    config.hiddenSize,
  ]) as [T];
  return { output, present: { ssm: scan.present, conv: conv.present }, logDecay: ops.sumOverTokens(logA) };
}
