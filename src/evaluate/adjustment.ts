/** Changes to a composed state before it is used, for ablations; plain data, so that it can go to another process. */
import { ContextState } from "../state/context-state.js";

export type Adjustment =
  /** Composes layers `[from, to)` only; the others take the state of the last context, the best one. */
  | { kind: "layers"; from: number; to: number }
  /** Takes the convolution state from all contexts, the last one, or none. */
  | { kind: "conv"; choice: "mean" | "last" | "zero" };

/** `states` are those that were composed, in their order. */
export function adjust(adjustment: Adjustment, composed: ContextState, states: readonly ContextState[]): ContextState {
  const { fingerprint, shape, tokens, logDecay } = composed;
  if (adjustment.kind === "conv") {
    const conv = chooseConv(adjustment.choice, states);
    return new ContextState({ fingerprint, shape, tokens, logDecay, ssm: composed.ssm, conv });
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

function chooseConv(choice: "mean" | "last" | "zero", states: readonly ContextState[]): Float32Array {
  const { conv } = states.at(-1)!;
  if (choice === "last") return conv;
  if (choice === "zero") return new Float32Array(conv.length);
  return conv.map((_, i) => states.reduce((total, state) => total + state.conv[i]!, 0) / states.length);
}
