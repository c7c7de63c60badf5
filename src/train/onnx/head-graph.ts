/**
 * The end of the model as a graph: final norm, logits and the cross-entropy of the positions that are scored.
 *
 * Letters: M positions, V vocabulary, D hidden size.
 */
import type { Mamba2Config } from "../../model/config.js";
import { crossEntropy, rmsNorm } from "../../onnx/network-ops.js";
import { Tape } from "../../onnx/tape.js";
import { matMul } from "../../onnx/tensor-ops.js";

/** What the losses depend on, and can be differentiated by. */
export const headSources = ["residual", "norm", "head"] as const;

export type HeadSource = (typeof headSources)[number];

/**
 * Inputs `residual` [M, D], `targets` [M, 1], `norm` [D], `head` [V, D]; output `losses` [M, 1]. With `gradientsOf` also
 * the input `weights` [M, 1], by which the losses are multiplied, and the outputs `{source}.gradient` of their sum.
 */
export function headGraph(
  config: Mamba2Config,
  gradientsOf: readonly HeadSource[],
): { model: Uint8Array; inputs: string[] } {
  const { hiddenSize: D, vocabSize: V, epsilon } = config;
  const tape = new Tape();
  const sources = {
    residual: tape.input("residual", ["M", D]),
    norm: tape.input("norm", [D]),
    head: tape.input("head", [V, D]),
  };
  const targets = tape.input("targets", ["M", 1], "i64");
  const logits = matMul(rmsNorm(sources.residual, sources.norm, epsilon), sources.head, { transB: true });
  const losses = crossEntropy(logits, targets);
  const outputs = [{ name: "losses", tensor: losses }];
  if (gradientsOf.length > 0) {
    const ends = [{ tensor: losses, cotangent: tape.input("weights", ["M", 1]) }];
    const gradients = tape.gradients(
      ends,
      gradientsOf.map((source) => sources[source]),
    );
    for (const [i, source] of gradientsOf.entries()) {
      outputs.push({ name: `${source}.gradient`, tensor: gradients[i]! });
    }
  }
  return tape.emit("head", outputs);
}
