/** AssemblyScript: embeddings, norms, and functions of four numbers at a time. */
import { arg, floatArg } from "./arguments.as";
import { quantize } from "./products.as";

/** The token's row of a table in float32. Arguments: table, columns, out. */
export function embedF32(step: usize, token: usize): void {
  const bytes = arg(step, 1) << 2;
  memory.copy(arg(step, 2), arg(step, 0) + token * bytes, bytes);
}

/** The same of 8-bit blocks: (code - 128) x scale. Arguments: codes, scales, columns, blocks of a row, block size, out. */
export function embedQ8(step: usize, token: usize): void {
  const columns = arg(step, 2), blocks = arg(step, 3), size = arg(step, 4);
  const codes = arg(step, 0) + token * blocks * size;
  const scales = arg(step, 1) + token * (blocks << 2);
  const out = arg(step, 5);
  for (let i: usize = 0; i < columns; i++) {
    store<f32>(out + (i << 2), <f32>(<i32>load<u8>(codes + i) - 128) * load<f32>(scales + ((i / size) << 2)));
  }
}

/**
 * x / sqrt(mean(x^2) + epsilon) * weight, written in the form that the product after it reads: 0 float32, 1 and 2
 * blocks of 8-bit numbers for weights of 8 and 4 bits. Arguments: x, weight, width, epsilon, form, block size, out, and
 * room for the normalised values.
 */
export function norm(step: usize): void {
  const x = arg(step, 0), weight = arg(step, 1), width = arg(step, 2);
  const form = arg(step, 4);
  const out = form == 0 ? arg(step, 6) : arg(step, 7);
  const bytes = width << 2;
  const vectors = bytes & ~15;
  let squares = f32x4.splat(0);
  for (let i: usize = 0; i < vectors; i += 16) {
    const v = v128.load(x + i);
    squares = f32x4.add(squares, f32x4.mul(v, v));
  }
  let total = sum(squares);
  for (let i = vectors; i < bytes; i += 4) total += load<f32>(x + i) * load<f32>(x + i);
  const inverse: f32 = 1 / sqrt(total / <f32>width + floatArg(step, 3));
  const inverses = f32x4.splat(inverse);
  for (let i: usize = 0; i < vectors; i += 16) {
    v128.store(out + i, f32x4.mul(f32x4.mul(v128.load(x + i), inverses), v128.load(weight + i)));
  }
  for (let i = vectors; i < bytes; i += 4) store<f32>(out + i, load<f32>(x + i) * inverse * load<f32>(weight + i));
  if (form != 0) quantize(out, arg(step, 5), width, arg(step, 6), form == 2);
}

// @ts-ignore: decorator
@inline
export function silu(x: v128): v128 {
  return f32x4.div(x, f32x4.add(f32x4.splat(1), exponentials(f32x4.neg(x))));
}

/** exp of four numbers, within 2 units in the last place: 2^n times a polynomial (Cephes' expf) of what is left of x. */
// @ts-ignore: decorator
@inline
function exponentials(x: v128): v128 {
  x = f32x4.max(f32x4.min(x, f32x4.splat(88)), f32x4.splat(-87));
  const n = f32x4.nearest(f32x4.mul(x, f32x4.splat(1.44269504)));
  x = f32x4.sub(f32x4.sub(x, f32x4.mul(n, f32x4.splat(0.693359375))), f32x4.mul(n, f32x4.splat(-2.12194440e-4)));
  let p = f32x4.splat(1.9875691500e-4);
  p = f32x4.add(f32x4.mul(p, x), f32x4.splat(1.3981999507e-3));
  p = f32x4.add(f32x4.mul(p, x), f32x4.splat(8.3334519073e-3));
  p = f32x4.add(f32x4.mul(p, x), f32x4.splat(4.1665795894e-2));
  p = f32x4.add(f32x4.mul(p, x), f32x4.splat(1.6666665459e-1));
  p = f32x4.add(f32x4.mul(p, x), f32x4.splat(5.0000001201e-1));
  p = f32x4.add(f32x4.add(f32x4.mul(f32x4.mul(p, x), x), x), f32x4.splat(1));
  return f32x4.mul(p, i32x4.shl(i32x4.add(i32x4.trunc_sat_f32x4_s(n), i32x4.splat(127)), 23));
}

// @ts-ignore: decorator
@inline
export function sum(v: v128): f32 {
  return f32x4.extract_lane(v, 0) + f32x4.extract_lane(v, 1) + (f32x4.extract_lane(v, 2) + f32x4.extract_lane(v, 3));
}
