/** Changes to a composed state before it is used, for ablations; plain data, so that it can go to another process. */
import { compose } from "../compose/compose.js";
import { type CompositionMethod, compositionWeights } from "../compose/weights.js";
import { ContextState } from "../state/context-state.js";
import type { EvaluationContext } from "./query.js";

export type Adjustment =
  /** Composes layers `[from, to)` only; the others take the state of the last context, the best one. */
  | { kind: "layers"; from: number; to: number }
  /** Takes the convolution state from all contexts, the last one, or none. */
  | { kind: "conv"; choice: "mean" | "last" | "zero" }
  /** Divides the weights of each head by their sum. */
  | { kind: "sum-to-one" }
  /** Counts the mean state of a sample of contexts, what all have in common, once instead of once per context. */
  | { kind: "shared-once"; sample: readonly EvaluationContext[] };

/** `states` are those to compose, in their order; `shared` is the mean state of the sample, where there is one. */
export function adjustedComposition(
  adjustment: Adjustment,
  states: readonly ContextState[],
  method: CompositionMethod,
  shared?: ContextState,
): ContextState {
  const composed = compose(states, method);
  const { fingerprint, shape, tokens, logDecay } = composed;
  if (adjustment.kind === "conv") {
    const conv = chooseConv(adjustment.choice, states);
    return new ContextState({ fingerprint, shape, tokens, logDecay, ssm: composed.ssm, conv });
  }
  if (adjustment.kind === "sum-to-one" || adjustment.kind === "shared-once") {
    const totals = totalWeights(states, method);
    const ssm = composed.ssm.map((value, i) => {
      const total = totals[Math.floor(i / (shape.stateSize * shape.headDim))]!;
      return shared === undefined ? value / total : value + (1 - total) * shared.ssm[i]!;
    });
    return new ContextState({ fingerprint, shape, tokens, logDecay, ssm, conv: composed.conv });
  }
  const last = states.at(-1)!;
  const pick = (name: "ssm" | "conv") => {
    const values = last[name].slice();
    const layer = values.length / shape.layers;
    const [from, to] = [adjustment.from * layer, adjustment.to * layer];
    values.set(composed[name].subarray(from, to), from);
    return values;
  };
  return new ContextState({ fingerprint, shape, tokens, logDecay, ssm: pick("ssm"), conv: pick("conv") });
}

/** Sum of the weights of each head, [layers * heads]. */
function totalWeights(states: readonly ContextState[], method: CompositionMethod): Float64Array {
  const weights = compositionWeights(
    states.map((state) => state.logDecay),
    method,
  );
  return weights[0]!.map((_, head) => weights.reduce((total, each) => total + each[head]!, 0));
}

function chooseConv(choice: "mean" | "last" | "zero", states: readonly ContextState[]): Float32Array {
  const { conv } = states.at(-1)!;
  if (choice === "last") return conv;
  if (choice === "zero") return new Float32Array(conv.length);
  return conv.map((_, i) => states.reduce((total, state) => total + state.conv[i]!, 0) / states.length);
}
