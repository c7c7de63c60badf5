/** Composition where the model runs: the sum of the recurrent states on the graphics processor, the rest on the CPU. */
import { composeBesideSsm } from "../compose/compose.js";
import { floatTerm } from "../compose/kernel/job.js";
import { compareValues, summingOrder } from "../compose/order.js";
import { assertLogDecays, type CompositionMethod } from "../compose/weights.js";
import type { LanguageModel } from "../model/language-model.js";
import type { DeviceState } from "../model/webgpu/device-states.js";
import { assertSameModel, type ContextState } from "../state/context-state.js";

/**
 * `compose` on a model's device, to `generate` from there; the caller disposes of its `values`. Like those of `compose`,
 * results do not depend on the order of the contexts for `soup` and `picaso-s`, nor on their rotation for `picaso-r`.
 * Weights are computed in float64 and rounded once; products and sums are in float32, in the same order as on the CPU.
 */
export async function composeOnDevice(
  model: LanguageModel,
  states: readonly ContextState[],
  method: CompositionMethod,
): Promise<DeviceState> {
  for (const [k, state] of states.entries()) assertSameModel(model.zeroState(), state, `compose, state ${k}`);
  assertLogDecays(states.map((state) => state.logDecay));
  const ordered = summingOrder(states, method, compareValues);
  const terms = ordered.map(({ conv, ...state }) => ({ ...state, conv: floatTerm(conv) }));
  const { weights, ...composed } = composeBesideSsm(terms, method);
  const weighted = ordered.map(({ ssm }, k) => ({ ssm, weights: Float32Array.from(weights[k]!) }));
  return model.sumOnDevice(weighted, composed);
}
