/**
 * The weights of composition, differentiable in the contexts' decays: those that compose/ uses, from log decays alone,
 * per layer and head (PICASO, ICLR 2025, propositions 1 to 3). Here for one layer of a batch of examples at a time. Only
 * inside `jit`; borrows.
 *
 * An example has K slots for contexts, filled from the first on; empty ones have no part in any sum or product.
 *
 * Letters: E examples, K slots, H heads. In `contract`: e example, k and j slots, i rotation, h head, m quadrature node.
 */
import { gaussLegendre } from "../../compose/gauss-legendre.js";
import type { CompositionMethod } from "../../compose/weights.js";
import { log } from "./functions.js";
import { contract, np, type Tensor } from "./jax.js";

/** Weight of each slot's convolution state, [E, K]: the mean of all, for CASO the last context's alone. */
export function convWeights(method: CompositionMethod, filled: Tensor): Tensor {
  return method === "caso" ? lastFilled(filled) : share(filled);
}

/** Weight of each slot's context, [E, K, H], from its log decay [E, K, H]; zero for empty slots. */
export function slotWeights(method: CompositionMethod, logDecay: Tensor, filled: Tensor): Tensor {
  const [examples, slots, heads] = logDecay.shape as [number, number, number];
  const mask = filled.ref.reshape([examples, slots, 1]);
  // An empty slot decays nothing: it is then a factor of one wherever it stands.
  const decays = logDecay.ref.mul(mask.ref);
  switch (method) {
    case "soup":
      return np.broadcastTo(share(filled).reshape([examples, slots, 1]), [examples, slots, heads]);
    case "caso":
      return np.exp(contract("kj,ejh->ekh", np.triu(np.ones([slots, slots]), 1), decays)).mul(mask);
    case "picaso-r": {
      const later = np.array(laterInRotation(slots)).reshape([slots, slots, slots]);
      const terms = np.exp(contract("ikj,ejh->eikh", later, decays));
      const meanOverStarts = contract("ei,eikh->ekh", share(filled), terms);
      return meanOverStarts.mul(mask);
    }
    case "picaso-s": {
      // An independent uniform arrival time t = 1 - s for the context; each other one comes later with probability s
      // and then multiplies by its decay: W_k = integral of prod_{j != k} (1 - s + s A_j), exact by quadrature.
      const { s, weight } = gaussLegendre(Math.ceil(slots / 2));
      const column = (values: Float64Array) => np.array(Float32Array.from(values)).reshape([s.length, 1, 1, 1]);
      const later = np.exp(decays.reshape([1, examples, slots, heads])).mul(column(s));
      const logFactors = log(later.add(column(s.map((value) => 1 - value))));
      const others = np.ones([slots, slots]).sub(np.eye(slots));
      const products = np.exp(contract("kj,mejh->mekh", others, logFactors));
      return products.mul(column(weight)).sum(0).mul(mask);
    }
  }
}

/**
 * [i, k, j] row by row: 1 where slot j comes after slot k in the rotation that begins at slot i. Empty slots, all at the
 * end, do not change who comes after whom among the others.
 */
function laterInRotation(slots: number): Float32Array {
  const later = new Float32Array(slots ** 3);
  const place = (slot: number, first: number) => (slot - first + slots) % slots;
  for (let at = 0; at < later.length; at++) {
    const [first, k, j] = [Math.floor(at / slots ** 2), Math.floor(at / slots) % slots, at % slots];
    if (place(j, first) > place(k, first)) later[at] = 1;
  }
  return later;
}

/** 1/n for each of an example's n filled slots: [E, K]. */
function share(filled: Tensor): Tensor {
  return filled.ref.mul(np.reciprocal(np.maximum(filled.ref.sum(1, { keepdims: true }), 1)));
}

/** 1 for the last filled slot of each example: [E, K]. */
function lastFilled(filled: Tensor): Tensor {
  const next = np.pad(filled.ref.slice([], [1]), [
    [0, 0],
    [0, 1],
  ]);
  return filled.ref.sub(next);
}
