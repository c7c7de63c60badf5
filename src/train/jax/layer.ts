/**
 * One layer of the model forward and backward, compiled once for all layers. Backward runs the layer again from its
 * input instead of keeping what happened inside (gradient checkpointing), so memory holds the inside of one layer at a
 * time.
 *
 * Letters: B sequences, T tokens, D width, H heads, P head dimension, N state size, W convolution width kept, C its
 * channels.
 */
import type { Mamba2Config } from "../../model/config.js";
import { mamba2Layer } from "../../model/mamba2.js";
import { jit, np, type Tensor, type Tensors, vjp } from "./jax.js";
import { JaxOperations } from "./operations.js";
import { LAYER } from "./parameters.js";

/** Parameters that get gradients, and the others. */
export type LayerParameters = { trained: Tensors; frozen: Tensors };

export type LayerInput = {
  /** [B, T, D] */
  residual: Tensor;
  /** [B] int32 */
  lengths: Tensor;
};

export type PastState = {
  /** [B, H, N, P] */
  ssm: Tensor;
  /** [B, W, C] */
  conv: Tensor;
};

/** No arrays: the zero state. */
export type ZeroState = Record<string, never>;

export type ContextOutput = PastState & {
  /** [B, T, D] */
  residual: Tensor;
  /** [B, H] */
  logDecay: Tensor;
};

export type LayerFunctions = ReturnType<typeof layerFunctions>;

/**
 * The compiled functions of a layer. All consume their arguments. `sums` are gradients summed so far, by the names of
 * the trained parameters.
 */
export function layerFunctions(config: Mamba2Config) {
  const run = (parameters: Tensors, { residual, lengths }: LayerInput, past: PastState | ZeroState): ContextOutput => {
    const fromZero = !("ssm" in past);
    const ops = new JaxOperations({ parameters, config, lengths, fromZero });
    const start = fromZero ? zeroState(config, residual.shape[0]!) : past;
    const out = mamba2Layer(ops, config, LAYER, residual, start as PastState);
    return { residual: out.residual, ...out.present, logDecay: out.logDecay };
  };

  return {
    /** Contexts, from the zero state. */
    context: jit(({ trained, frozen }: LayerParameters, input: LayerInput): ContextOutput => {
      return run({ ...frozen, ...trained }, input, {});
    }),

    contextBackward: jit(
      ({ trained, frozen }: LayerParameters, input: LayerInput, gradient: ContextOutput, sums: Tensors) => {
        const { lengths } = input;
        const f = (t: Tensors, residual: Tensor) => run({ ...frozen, ...t }, { residual, lengths }, {});
        const [, pullBack] = vjp(f, [trained, input.residual]);
        const [parameters, residual] = pullBack(gradient) as [Tensors, Tensor];
        return { residual, sums: addAll(sums, parameters) };
      },
    ),

    /** Queries from a state: their residual. */
    query: jit(({ trained, frozen }: LayerParameters, input: LayerInput, past: PastState | ZeroState): Tensor => {
      return run({ ...frozen, ...trained }, input, past).residual;
    }),

    /** With the state's gradient too. */
    queryBackward: jit(
      (
        { trained, frozen }: LayerParameters,
        input: LayerInput,
        past: PastState,
        gradient: Tensor,
        sums: Tensors,
      ): { residual: Tensor; past: PastState; sums: Tensors } => {
        const { lengths } = input;
        const f = (t: Tensors, residual: Tensor, state: PastState) =>
          run({ ...frozen, ...t }, { residual, lengths }, state).residual;
        const [, pullBack] = vjp(f, [trained, input.residual, past]);
        const [parameters, residual, state] = pullBack(gradient) as [Tensors, Tensor, PastState];
        return { residual, past: state, sums: addAll(sums, parameters) };
      },
    ),

    /** With the state as a constant. */
    queryBackwardFixed: jit(
      (
        { trained, frozen }: LayerParameters,
        input: LayerInput,
        past: PastState | ZeroState,
        gradient: Tensor,
        sums: Tensors,
      ): { residual: Tensor; sums: Tensors } => {
        const { lengths } = input;
        const f = (t: Tensors, residual: Tensor) => run({ ...frozen, ...t }, { residual, lengths }, past).residual;
        const [, pullBack] = vjp(f, [trained, input.residual]);
        const [parameters, residual] = pullBack(gradient) as [Tensors, Tensor];
        return { residual, sums: addAll(sums, parameters) };
      },
    ),
  };
}

function zeroState(config: Mamba2Config, batch: number): PastState {
  return {
    // Only its place is taken: from the zero state the scan leaves it out.
    ssm: np.zeros([batch, config.heads, config.stateSize, config.headDim]),
    conv: np.zeros([batch, config.convKernel - 1, config.convDim]),
  };
}

export function addAll(sums: Tensors, terms: Tensors): Tensors {
  return Object.fromEntries(Object.entries(sums).map(([name, sum]) => [name, sum.add(terms[name]!)]));
}
