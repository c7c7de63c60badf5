/**
 * Both ends of the model: tokens to the first residual, and the last residual to the loss of target tokens.
 *
 * Letters: B sequences, T tokens, D width, V vocabulary, M predictions scored in one call.
 */
import type { Mamba2Config } from "../../model/config.js";
import { log } from "./functions.js";
import { jit, lax, np, type Tensor, type Tensors, vjp } from "./jax.js";
import { addAll } from "./layer.js";
import { FINAL_NORM, headOf } from "./parameters.js";

/** Predictions to score, padded with weight 0. */
export type Predictions = {
  /** [M] int32, which of the B*T positions */
  rows: Tensor;
  /** [M] int32, the token to be predicted there */
  targets: Tensor;
  /** [M], what each loss counts */
  weights: Tensor;
};

export type EndFunctions = ReturnType<typeof endFunctions>;

/** Compiled functions of both ends. All consume their arguments. */
export function endFunctions(config: Mamba2Config) {
  const headName = headOf(config);
  const lossOf = (parameters: Tensors, residual: Tensor, { rows, targets, weights }: Predictions): Tensor => {
    const [batch, tokens, width] = residual.shape as [number, number, number];
    const scored = np.take(residual.ref.reshape([batch * tokens, width]), rows.ref, 0);
    const meanSquare = np.square(scored.ref).mean(-1, { keepdims: true });
    const normed = scored.mul(np.reciprocal(np.sqrt(meanSquare.add(config.epsilon))));
    const hidden = normed.mul(parameters[FINAL_NORM]!.ref);
    const logits = np.matmul(hidden, parameters[headName]!.ref.transpose());
    return crossEntropy(logits, targets).mul(weights.ref).sum();
  };

  return {
    embed: jit((embeddings: Tensor, tokens: Tensor): Tensor => np.take(embeddings, tokens, 0)),

    /** Adds the gradient that `embed` passes on. */
    embedBackward: jit((tokens: Tensor, gradient: Tensor, sum: Tensor): Tensor => {
      const [, pullBack] = vjp((table: Tensor) => np.take(table.ref, tokens.ref, 0), [np.zeros(sum.shape)]);
      const [table] = pullBack(gradient) as [Tensor];
      return sum.add(table);
    }),

    /** Weighted sum of the losses. */
    loss: jit((parameters: Tensors, residual: Tensor, predictions: Predictions) =>
      lossOf(parameters, residual, predictions),
    ),

    /** The same with gradients, added to `residualSum` and to `sums` of the parameters that are trained. */
    lossBackward: jit(
      (
        trained: Tensors,
        frozen: Tensors,
        residual: Tensor,
        predictions: Predictions,
        residualSum: Tensor,
        sums: Tensors,
      ): { loss: Tensor; residualSum: Tensor; sums: Tensors } => {
        const f = (t: Tensors, x: Tensor) => lossOf({ ...frozen, ...t }, x, predictions);
        const [loss, pullBack] = vjp(f, [trained, residual]);
        const [parameters, x] = pullBack(np.ones([])) as [Tensors, Tensor];
        return { loss, residualSum: residualSum.add(x), sums: addAll(sums, parameters) };
      },
    ),
  };
}

/** `-log softmax(logits)[target]` of each row: logits [M, V], targets [M] -> [M]. */
function crossEntropy(logits: Tensor, targets: Tensor): Tensor {
  const [rows, vocabulary] = logits.shape as [number, number];
  const isTarget = np
    .arange(vocabulary)
    .reshape([1, vocabulary])
    .equal(targets.ref.reshape([rows, 1]));
  const picked = np.where(isTarget, logits.ref, 0).sum(1);
  const largest = lax.stopGradient(np.max(logits.ref, 1, { keepdims: true }));
  const total = np.exp(logits.sub(largest.ref)).sum(1);
  return log(total)
    .add(largest.reshape([rows]))
    .sub(picked);
}
