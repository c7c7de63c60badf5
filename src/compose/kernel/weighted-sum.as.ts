/**
 * AssemblyScript source of the weighted sum, out[i] = w_0 x_0[i] + w_1 x_1[i] + ... for begin <= i < end, in float32.
 *
 * The caller owns the memory. `terms` is a table of n >= 1 entries of 16 bytes: the address of x_k, its weight in
 * float32, and for int8 the address of its scales and 4 bytes for the kernel's own use. With `add` the sum goes on from what `out` holds, in
 * the same order of additions, so that summing many terms in groups changes no bit of the result. Four accumulators of
 * four values stay in registers while the inner loop runs over the terms; with eight, V8 runs out of registers and
 * spills.
 *
 * The result is 0 where all sums are finite, else NaN.
 */

/** An 8-bit number is read into the top byte of an integer, which takes fewer instructions; its weight is divided by that. */
const INT8_UNIT: f32 = 1.0 / 16777216.0;

/** Terms in float32. */
export function sumF32(out: usize, terms: usize, n: usize, begin: usize, end: usize, add: bool): f32 {
  return sum<f32>(out, terms, n, begin, end, add);
}

/** Terms in bfloat16, the upper halves of float32 values. */
export function sumBf16(out: usize, terms: usize, n: usize, begin: usize, end: usize, add: bool): f32 {
  return sum<u16>(out, terms, n, begin, end, add);
}

/**
 * Terms in 8-bit numbers in rows of `width`, a whole number of which stand from `begin` to `end`; each row has a scale,
 * and the weight of a number is its term's weight times that, rounded to float32.
 */
export function sumInt8(
  out: usize, terms: usize, n: usize, begin: usize, end: usize, add: bool, width: usize,
): f32 {
  const last = terms + (n << 4);
  let check: f32 = 0;
  for (let row = begin; row < end; row += width) {
    for (let term = terms; term < last; term += 16) {
      const scale = load<f32>(load<usize>(term, 8) + ((row / width) << 2));
      store<f32>(term, load<f32>(term, 4) * scale * INT8_UNIT, 12);
    }
    check += sum<i8>(out, terms, n, row, row + width, add);
  }
  return check;
}

// @ts-ignore: decorator
@inline
function sum<T>(out: usize, terms: usize, n: usize, begin: usize, end: usize, add: bool): f32 {
  const last = terms + (n << 4);
  let check = f32x4.splat(0);
  let i = begin;
  for (; i + 16 <= end; i += 16) {
    const o = out + (i << 2);
    let x = load<usize>(terms) + i * sizeof<T>();
    let w = weight<T>(terms);
    let first = halves<T>(x, 0);
    let second = halves<T>(x, 8);
    let a = f32x4.mul(w, four<T>(x, first, 0));
    let b = f32x4.mul(w, four<T>(x, first, 4));
    let c = f32x4.mul(w, four<T>(x, second, 8));
    let d = f32x4.mul(w, four<T>(x, second, 12));
    if (add) {
      a = f32x4.add(v128.load(o), a);
      b = f32x4.add(v128.load(o, 16), b);
      c = f32x4.add(v128.load(o, 32), c);
      d = f32x4.add(v128.load(o, 48), d);
    }
    for (let term = terms + 16; term < last; term += 16) {
      x = load<usize>(term) + i * sizeof<T>();
      w = weight<T>(term);
      first = halves<T>(x, 0);
      second = halves<T>(x, 8);
      a = f32x4.add(a, f32x4.mul(w, four<T>(x, first, 0)));
      b = f32x4.add(b, f32x4.mul(w, four<T>(x, first, 4)));
      c = f32x4.add(c, f32x4.mul(w, four<T>(x, second, 8)));
      d = f32x4.add(d, f32x4.mul(w, four<T>(x, second, 12)));
    }
    v128.store(o, a);
    v128.store(o, b, 16);
    v128.store(o, c, 32);
    v128.store(o, d, 48);
    // Zero times a number is zero; times an infinity or NaN it is NaN, which stays.
    const zero = f32x4.splat(0);
    check = f32x4.add(check, f32x4.add(f32x4.mul(a, zero), f32x4.mul(b, zero)));
    check = f32x4.add(check, f32x4.add(f32x4.mul(c, zero), f32x4.mul(d, zero)));
  }
  let result =
    f32x4.extract_lane(check, 0) + f32x4.extract_lane(check, 1) +
    f32x4.extract_lane(check, 2) + f32x4.extract_lane(check, 3);
  for (; i < end; i++) {
    const o = out + (i << 2);
    let total = one<T>(load<usize>(terms) + i * sizeof<T>()) * f32x4.extract_lane(weight<T>(terms), 0);
    if (add) total = load<f32>(o) + total;
    for (let term = terms + 16; term < last; term += 16) {
      total += one<T>(load<usize>(term) + i * sizeof<T>()) * f32x4.extract_lane(weight<T>(term), 0);
    }
    store<f32>(o, total);
    result += total * 0;
  }
  return result;
}

/** What the numbers of a term are multiplied with, four times. */
// @ts-ignore: decorator
@inline
function weight<T>(term: usize): v128 {
  return v128.load32_splat(term, sizeof<T>() == 1 ? 12 : 4);
}

/** Eight values, `skip` (0 or 8) values after those at `x`, as the upper bytes of 16-bit lanes; not used for float32. */
// @ts-ignore: decorator
@inline
function halves<T>(x: usize, skip: usize): v128 {
  const zero = i8x16.splat(0);
  if (isFloat<T>()) return zero;
  if (sizeof<T>() == 2) return v128.load(x + (skip << 1));
  const bytes = v128.load(x);
  if (skip) return v128.shuffle<u8>(zero, bytes, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
  return v128.shuffle<u8>(zero, bytes, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
}

/** Four values, `skip` (0, 4, 8 or 12) values after those at `x`; small ones come from the `eight` that hold them. */
// @ts-ignore: decorator
@inline
function four<T>(x: usize, eight: v128, skip: usize): v128 {
  if (isFloat<T>()) return v128.load(x + (skip << 2));
  const zero = i16x8.splat(0);
  const upper = skip & 4
    ? v128.shuffle<u16>(zero, eight, 4, 12, 5, 13, 6, 14, 7, 15)
    : v128.shuffle<u16>(zero, eight, 0, 8, 1, 9, 2, 10, 3, 11);
  return sizeof<T>() == 1 ? f32x4.convert_i32x4_s(upper) : upper;
}

// @ts-ignore: decorator
@inline
function one<T>(x: usize): f32 {
  if (isFloat<T>()) return load<f32>(x);
  if (sizeof<T>() == 1) return <f32>(<i32>load<i8>(x) << 24);
  return reinterpret<f32>(<u32>load<u16>(x) << 16);
}
