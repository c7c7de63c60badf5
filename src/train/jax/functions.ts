/** Functions of one argument, elementwise, that jax-js has not or has too roughly. Only inside `jit`; they borrow. */
import { lax, np, type Tensor } from "./jax.js";

/**
 * Natural logarithm. jax-js's own on wasm is wrong by up to 1.3e-5; a step of Newton's method on e^y = x leaves what
 * its exponential has, 1e-6 of the value. The gradient is given as 1/x: the added term is zero in value.
 */
export function log(x: Tensor): Tensor {
  const fixed = lax.stopGradient(x.ref);
  const rough = np.log(fixed.ref);
  const value = rough.ref.add(fixed.ref.mul(np.exp(rough.neg())).sub(1));
  return value.add(np.reciprocal(fixed.ref).mul(x.ref.sub(fixed)));
}

/** `x * sigmoid(x)`. */
export function silu(x: Tensor): Tensor {
  return x.ref.mul(sigmoid(x));
}

/**
 * `log(1 + e^x)`, accurate at both ends: as a logarithm of 1 + u it would lose u's digits for the small time steps that
 * models have. The gradient is given as sigmoid(x), like that of {@link log}.
 */
export function softplus(x: Tensor): Tensor {
  const fixed = lax.stopGradient(x.ref);
  const u = np.exp(np.absolute(fixed.ref).neg());
  // np.log1p is a series below 0.2 and a plain logarithm above.
  const log1p = np.where(u.ref.less(0.2), np.log1p(u.ref), log(u.ref.add(1)));
  const value = np.maximum(fixed.ref, 0).add(log1p);
  return value.add(sigmoid(fixed).mul(x.ref.sub(fixed)));
}

/** Below -60 its gradient would come out as zero times infinity; there it counts as constant. */
function sigmoid(x: Tensor): Tensor {
  return np.reciprocal(np.exp(np.maximum(x.ref, -60).neg()).add(1));
}

/** The same values laid out in the order of their axes: views alone, such as transposition, move nothing. */
export function copy(x: Tensor): Tensor {
  return x.ref.neg().neg();
}
