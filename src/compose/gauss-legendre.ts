/**
 * Gauss-Legendre quadrature on [0, 1]: q nodes integrate every polynomial of degree below 2q exactly. A node is kept
 * as its distance s = 1 - t from the right end, since the integrands here change fastest there, where 1 - t computed
 * from t would have lost its digits.
 */

export interface Quadrature {
  /** 1 - t of each node: ascending for the right half of the interval, then the mirror images. */
  s: Float64Array;
  /** Weight of each node; the sum is 1. */
  weight: Float64Array;
}

const cache = new Map<number, Quadrature>();

/** The rule with q >= 1 nodes; computed once for each q, in O(q^2). */
export function gaussLegendre(q: number): Quadrature {
  let rule = cache.get(q);
  if (rule === undefined) {
    rule = computeRule(q);
    cache.set(q, rule);
  }
  return rule;
}

function computeRule(q: number): Quadrature {
  const s = new Float64Array(q);
  const weight = new Float64Array(q);
  for (let i = 0; i < Math.ceil(q / 2); i++) {
    const mirror = q - 1 - i;
    // Newton's iteration from the usual estimate of the i-th zero of P_q, cos(pi (i + 3/4) / (q + 1/2)).
    let node = i === mirror ? 0.5 : Math.sin((Math.PI * (i + 0.75)) / (2 * q + 1)) ** 2;
    let value = legendre(q, node);
    for (let step = 0; i !== mirror && step < 10; step++) {
      const change = (value.p * 2 * node * (1 - node)) / (q * (value.previous - (1 - 2 * node) * value.p));
      node += change;
      value = legendre(q, node);
      if (Math.abs(change) <= 1e-16 * node) break;
    }
    s[i] = node;
    s[mirror] = 1 - node;
    weight[i] = weight[mirror] = (4 * node * (1 - node)) / (q * value.previous) ** 2;
  }
  return { s, weight };
}

/**
 * P_q(x) and P_{q-1}(x) at x = 1 - 2s. The three-term recurrence in the differences P_k - P_{k-1}: s enters as a
 * factor and keeps its digits, however small.
 */
function legendre(q: number, s: number): { p: number; previous: number } {
  let previous = 0;
  let p = 1;
  let difference = 0;
  for (let k = 0; k < q; k++) {
    difference = (k * difference - (2 * k + 1) * 2 * s * p) / (k + 1);
    previous = p;
    p += difference;
  }
  return { p, previous };
}
