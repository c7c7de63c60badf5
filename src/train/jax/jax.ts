/**
 * jax-js, loaded after its globals are in place. The other files of this room import it from here only.
 *
 * jax-js frees memory by ownership: a function consumes the arrays it is given, and `.ref` keeps one for later use.
 * Functions of this room that run inside `jit` borrow instead: they take `.ref` of everything and let go of nothing.
 * That is safe there, and only there: what passes through a traced function are names of values, without memory.
 */
import type { Array as JaxArray } from "@jax-js/jax";
import { prepareGlobals } from "./globals.js";

prepareGlobals();
const jax = await import("@jax-js/jax");

export type Tensor = JaxArray;
/** Arrays by name, such as the parameters of a layer. */
export type Tensors = { [name: string]: Tensor };

// Named types: those that the compiler would infer are too long for declaration files.
type Jax = typeof import("@jax-js/jax");
export const np: Jax["numpy"] = jax.numpy;
export const jit: Jax["jit"] = jax.jit;
export const vjp: Jax["vjp"] = jax.vjp;
export const tree: Jax["tree"] = jax.tree;
export const lax: Jax["lax"] = jax.lax;
export const init: Jax["init"] = jax.init;
export const defaultDevice: Jax["defaultDevice"] = jax.defaultDevice;
export const blockUntilReady: Jax["blockUntilReady"] = jax.blockUntilReady;

/**
 * Sum of products over the letters that are missing from the result: `contract("bqs,bks->bqk", a, b)`. Borrows.
 * (jax-js has einsum, but its parser of letters needs a newer Node than 20.)
 */
export function contract(letters: string, a: Tensor, b: Tensor): Tensor {
  const [inputs, result] = letters.split("->") as [string, string];
  const [left, right] = inputs.split(",") as [string, string];
  const axes = (text: string) => Array.from(text, (letter) => letter.charCodeAt(0) - 97);
  return np.einsum(a.ref, axes(left), b.ref, axes(right), axes(result));
}
