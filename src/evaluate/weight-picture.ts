/** Composition weights as they come out on real contexts, averaged over queries: what each layer and head keeps. */
import { type CompositionMethod, compositionWeights } from "../compose/weights.js";
import type { ContextStates } from "./context-states.js";
import type { EvaluationQuery } from "./query.js";

export interface WeightPicture {
  method: CompositionMethod;
  /** Contexts composed, the best last as in `caso`. */
  k: number;
  layers: number;
  heads: number;
  /** [k][layers x heads], mean W_k over queries. */
  weights: number[][];
}

export async function measureWeights(
  states: ContextStates,
  queries: readonly EvaluationQuery[],
  method: CompositionMethod,
  k: number,
): Promise<WeightPicture | null> {
  const usable = queries.filter(({ contexts }) => contexts.length >= k);
  if (usable.length === 0) return null;
  let weights: number[][] = [];
  let shape = { layers: 0, heads: 0 };
  for (const query of usable) {
    const chosen = (await states.get(query.contexts.slice(0, k))).toReversed();
    shape = chosen[0]!.shape;
    const own = compositionWeights(
      chosen.map(({ logDecay }) => logDecay),
      method,
    );
    weights = own.map((values, i) => Array.from(values, (w, j) => (weights[i]?.[j] ?? 0) + w / usable.length));
  }
  return { method, k, layers: shape.layers, heads: shape.heads, weights };
}
