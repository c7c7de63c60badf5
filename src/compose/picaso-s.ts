/**
 * The weights of PICASO-S: CASO's, averaged over all orders of the contexts (PICASO, ICLR 2025, Prop. 2),
 *
 *   W_k = (1/n) sum_m e_m({A_j : j != k}) / binom(n-1, m) = integral over [0, 1] of prod_{j != k} (t + (1-t) A_j) dt.
 *
 * The integral says it with probabilities: give every context a uniform arrival time; when k arrives at t, each other
 * one comes later with probability 1 - t and then decays k's state by A_j. Its integrand p is a polynomial of degree
 * n - 1, so quadrature is exact, and all terms are positive, so nothing cancels.
 */
import { gaussLegendre } from "./gauss-legendre.js";

/**
 * Nodes that n contexts need: the ceil(n/2) that are exact for degree n - 1, or fewer when n is large, where the
 * error stays below float64 rounding:
 *
 * As a product of terms A + (1-A) t, p is a mean of the powers t^m, m < n. In Chebyshev polynomials of [0, 1],
 * t^m = 2 sum_k P(B = m + k) T_k with B binomial of 2m fair tosses (and half of it at k = 0). The rule is exact for
 * k < 2q and off by less than 2 for any other T_k, hence off by less than 4 P(B >= m + 2q) <= 4 exp(-4 q^2 / m) for p
 * (Hoeffding). W_k is at least 1/n, so 4 q^2 >= n (ln 4n + 56 ln 2) keeps the relative error below 2^-56.
 */
export function nodesNeeded(n: number): number {
  return Math.min(Math.ceil(n / 2), Math.ceil(Math.sqrt(n * (Math.log(4 * n) + 56 * Math.LN2)) / 2));
}

/**
 * A node counts for nothing when the product of its terms is smaller. Leaving one term out, as each W_k does, makes it
 * larger by 1/t at most, and the first node stands at t > 1/(4 q^2): far below the rounding of sums of at least 1/n.
 */
const NEGLIGIBLE = 1e-40;

/**
 * A function that fills in the weights of n contexts from their log decays at one layer and head. O(n) a node, by
 * products from both ends.
 */
export function picasoS(n: number, nodes = nodesNeeded(n)): (logDecay: Float64Array, weights: Float64Array) => void {
  const { s, weight } = gaussLegendre(nodes);
  const loss = new Float64Array(n);
  const before = new Float64Array(n);
  return (logDecay, weights) => {
    // t + (1-t) A = 1 - s (1-A).
    for (let k = 0; k < n; k++) loss[k] = -Math.expm1(logDecay[k]!);
    weights.fill(0);
    for (let i = 0; i < nodes; i++) {
      const late = s[i]!;
      let product = weight[i]!;
      for (let k = 0; k < n && product > NEGLIGIBLE; k++) {
        before[k] = product;
        product *= 1 - late * loss[k]!;
      }
      if (product <= NEGLIGIBLE) continue;
      product = 1;
      for (let k = n - 1; k >= 0; k--) {
        weights[k]! += before[k]! * product;
        product *= 1 - late * loss[k]!;
      }
    }
  };
}
