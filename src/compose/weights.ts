/**
 * The weights of composition: every method makes one state as x = sum_k W_k x_k, with weights that follow from the
 * contexts' total decays A_k alone, separately for each layer and head (PICASO, ICLR 2025, section 3). Float64.
 */
import { PicasoError } from "../errors.js";
import { picasoS } from "./picaso-s.js";

/**
 * - `soup`: the plain mean of the states (the paper's baseline)
 * - `caso`: what concatenating the contexts in the given order does to the states of one layer (Prop. 1)
 * - `picaso-r`: CASO averaged over the n rotations of the order (Prop. 3)
 * - `picaso-s`: CASO averaged over all n! orders (Prop. 2)
 */
export type CompositionMethod = "soup" | "caso" | "picaso-r" | "picaso-s";

/** For n contexts, a function that fills in their weights given their log decays at one layer and head. */
type Rule = (n: number) => (logDecay: Float64Array, weights: Float64Array) => void;

const rules: Record<CompositionMethod, Rule> = { soup, caso, "picaso-r": picasoR, "picaso-s": picasoS };

export const compositionMethods = Object.keys(rules) as CompositionMethod[];

/**
 * Weights of n contexts.
 *
 * @param logDecays one array per context, in order; equal lengths (L x H for a state); logarithms of decays, <= 0.
 * @returns one array per context, of the same length: its weight for each element.
 * @throws PicasoError `bad-argument` for an unknown method, no contexts, lengths that differ, NaN or positive values.
 */
export function compositionWeights(
  logDecays: readonly (Float32Array | Float64Array)[],
  method: CompositionMethod,
): Float64Array[] {
  const rule = ruleOf(method);
  assertLogDecays(logDecays);
  const length = logDecays[0]!.length;
  const result = logDecays.map(() => new Float64Array(length));
  const n = logDecays.length;
  const fill = rule(n);
  const logDecay = new Float64Array(n);
  const weights = new Float64Array(n);
  for (let i = 0; i < length; i++) {
    for (let k = 0; k < n; k++) logDecay[k] = logDecays[k]![i]!;
    fill(logDecay, weights);
    for (let k = 0; k < n; k++) result[k]![i] = weights[k]!;
  }
  return result;
}

/** Each context's weight averaged over layers and heads: its share in the composed state, for reports. */
export function meanWeights(weights: readonly Float64Array[]): number[] {
  return weights.map((values) => values.reduce((sum, value) => sum + value, 0) / values.length);
}

function soup(n: number): ReturnType<Rule> {
  return (_, weights) => weights.fill(1 / n);
}

/** W_k = prod_{j>k} A_j. */
function caso(n: number): ReturnType<Rule> {
  return (logDecay, weights) => {
    let product = 1;
    for (let k = n - 1; k >= 0; k--) {
      weights[k] = product;
      product *= Math.exp(logDecay[k]!);
    }
  };
}

/**
 * n W_k = 1 + A_{k+1} + A_{k+1} A_{k+2} + ..., n terms, indices modulo n. The terms that end before index n follow from
 * those of k + 1; the others are the product of all decays after k, times a sum from index 0 that grows with k. Only
 * sums and products of positive numbers, so nothing cancels.
 */
function picasoR(n: number): ReturnType<Rule> {
  const decay = new Float64Array(n);
  const after = new Float64Array(n);
  return (logDecay, weights) => {
    for (let k = 0; k < n; k++) decay[k] = Math.exp(logDecay[k]!);
    after[n - 1] = weights[n - 1] = 1;
    for (let k = n - 2; k >= 0; k--) {
      after[k] = after[k + 1]! * decay[k + 1]!;
      weights[k] = 1 + decay[k + 1]! * weights[k + 1]!;
    }
    let product = 1;
    let wrapped = 0;
    for (let k = 0; k < n; k++) {
      weights[k] = (weights[k]! + after[k]! * wrapped) / n;
      product *= decay[k]!;
      wrapped += product;
    }
  };
}

function ruleOf(method: CompositionMethod): Rule {
  if (Object.hasOwn(rules, method)) return rules[method];
  throw badArgument("method", compositionMethods.join(", "), String(method), "Choose one of these methods.");
}

/** Throws `bad-argument`, naming the context, unless {@link compositionWeights} can use these. */
export function assertLogDecays(logDecays: readonly (Float32Array | Float64Array)[]): void {
  const first = logDecays[0];
  if (first === undefined) throw badArgument("contexts", "one or more", "none", "Pass at least one context.");
  for (const [k, values] of logDecays.entries()) {
    const where = `log decays of context ${k}`;
    if (values.length !== first.length) {
      const expected = `${first.length} values, as for context 0`;
      throw badArgument(where, expected, String(values.length), "Pass contexts of one model.");
    }
    let wrong = 0;
    // NaN fails the comparison too.
    while (wrong < values.length && values[wrong]! <= 0) wrong++;
    if (wrong === values.length) continue;
    const next = "The state is damaged: encode the passage again.";
    throw badArgument(`${where}, value ${wrong}`, "a number of at most 0", String(values[wrong]), next);
  }
}

function badArgument(where: string, expected: string, found: string, next: string): PicasoError {
  return new PicasoError("bad-argument", { where, expected, found, next });
}
