/**
 * AssemblyScript source of the weighted sum, out[i] = w_0 x_0[i] + w_1 x_1[i] + ... for begin <= i < end, in float32.
 *
 * The caller owns the memory. `terms` is a table of n >= 1 entries of 8 bytes, the address of x_k and its weight in
 * float32. With `add` the sum goes on from what `out` holds, in the same order of additions, so that summing many terms
 * in groups changes no bit of the result. Four accumulators of four values stay in registers while the inner loop runs
 * over the terms; with eight, V8 runs out of registers and spills.
 */

/** Terms in float32. */
export function sumF32(out: usize, terms: usize, n: usize, begin: usize, end: usize, add: bool): void {
  sum<f32>(out, terms, n, begin, end, add);
}

/** Terms in bfloat16, the upper halves of float32 values. */
export function sumBf16(out: usize, terms: usize, n: usize, begin: usize, end: usize, add: bool): void {
  sum<u16>(out, terms, n, begin, end, add);
}

// @ts-ignore: decorator
@inline
function sum<T>(out: usize, terms: usize, n: usize, begin: usize, end: usize, add: bool): void {
  const last = terms + (n << 3);
  let i = begin;
  for (; i + 16 <= end; i += 16) {
    const o = out + (i << 2);
    let x = load<usize>(terms) + i * sizeof<T>();
    let w = v128.load32_splat(terms, 4);
    let a = f32x4.mul(w, four<T>(x, 0));
    let b = f32x4.mul(w, four<T>(x, 4));
    let c = f32x4.mul(w, four<T>(x, 8));
    let d = f32x4.mul(w, four<T>(x, 12));
    if (add) {
      a = f32x4.add(v128.load(o), a);
      b = f32x4.add(v128.load(o, 16), b);
      c = f32x4.add(v128.load(o, 32), c);
      d = f32x4.add(v128.load(o, 48), d);
    }
    for (let term = terms + 8; term < last; term += 8) {
      x = load<usize>(term) + i * sizeof<T>();
      w = v128.load32_splat(term, 4);
      a = f32x4.add(a, f32x4.mul(w, four<T>(x, 0)));
      b = f32x4.add(b, f32x4.mul(w, four<T>(x, 4)));
      c = f32x4.add(c, f32x4.mul(w, four<T>(x, 8)));
      d = f32x4.add(d, f32x4.mul(w, four<T>(x, 12)));
    }
    v128.store(o, a);
    v128.store(o, b, 16);
    v128.store(o, c, 32);
    v128.store(o, d, 48);
  }
  for (; i < end; i++) {
    const o = out + (i << 2);
    let total = load<f32>(terms, 4) * one<T>(load<usize>(terms) + i * sizeof<T>());
    if (add) total = load<f32>(o) + total;
    for (let term = terms + 8; term < last; term += 8) {
      total += load<f32>(term, 4) * one<T>(load<usize>(term) + i * sizeof<T>());
    }
    store<f32>(o, total);
  }
}

/** Four values, `skip` (0, 4, 8 or 12) values after those at `x`. Halves are loaded by eight, and one load serves twice. */
// @ts-ignore: decorator
@inline
function four<T>(x: usize, skip: usize): v128 {
  if (isFloat<T>()) return v128.load(x + (skip << 2));
  const halves = v128.load(x + ((skip & 8) << 1));
  const zero = i16x8.splat(0);
  if (skip & 4) return v128.shuffle<u16>(zero, halves, 4, 12, 5, 13, 6, 14, 7, 15);
  return v128.shuffle<u16>(zero, halves, 0, 8, 1, 9, 2, 10, 3, 11);
}

// @ts-ignore: decorator
@inline
function one<T>(x: usize): f32 {
  if (isFloat<T>()) return load<f32>(x);
  return reinterpret<f32>(<u32>load<u16>(x) << 16);
}
