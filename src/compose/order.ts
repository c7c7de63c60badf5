/**
 * The order in which a method sums its contexts. Float addition depends on the order; so that a composed state is the
 * same to the last bit wherever the method does not care about the order of the contexts, each method first brings them
 * into one that follows from the states alone: sorted for soup and PICASO-S, rotated for PICASO-R, as given for CASO.
 */
import type { ContextState } from "../state/context-state.js";
import type { CompositionMethod } from "./weights.js";

/**
 * The states in the order in which `method` sums them. Decays alone tell states apart in practice; `compareContent`
 * orders those of equal decays by the rest.
 */
export function summingOrder<S extends Pick<ContextState, "logDecay">>(
  states: readonly S[],
  method: CompositionMethod,
  compareContent: (a: S, b: S) => number,
): S[] {
  if (method === "caso") return [...states];
  const compare = (a: S, b: S) => (a === b ? 0 : compareArrays(a.logDecay, b.logDecay) || compareContent(a, b));
  if (method !== "picaso-r") return [...states].sort(compare);
  let best = 0;
  for (let start = 1; start < states.length; start++) {
    if (compareRotations(states, start, best, compare) < 0) best = start;
  }
  return [...states.slice(best), ...states.slice(0, best)];
}

function compareRotations<S>(states: readonly S[], a: number, b: number, compare: (a: S, b: S) => number): number {
  const n = states.length;
  for (let i = 0; i < n; i++) {
    const order = compare(states[(a + i) % n]!, states[(b + i) % n]!);
    if (order !== 0) return order;
  }
  return 0;
}

/** Order of the values of states with equal decays. */
export function compareValues(a: ContextState, b: ContextState): number {
  return compareArrays(a.conv, b.conv) || compareArrays(a.ssm, b.ssm);
}

function compareArrays(a: Float32Array | Float64Array, b: Float32Array | Float64Array): number {
  for (let i = 0; i < a.length; i++) {
    if (a[i]! < b[i]!) return -1;
    if (a[i]! > b[i]!) return 1;
  }
  return 0;
}
