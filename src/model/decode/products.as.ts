/**
 * AssemblyScript: matrices times a vector. Weights are read once, four rows at a time, which share the loads of the
 * vector. The four stand a quarter of a chunk apart: as four streams, each in pages of its own, memory gives them twice
 * as fast as four neighbouring rows.
 */
import { arg } from "./arguments.as";
import { sum } from "./vectors.as";

/**
 * Rounds blocks of `size` values at `x` to whole steps, 127 of which are the block's largest magnitude, as ONNX Runtime
 * does for MatMulNBits (accuracy_level 4). Behind the last value stand zeros up to a whole block. A block becomes:
 * - the integers that a product of it begins with, 16 bytes: minus the zero of the weights' codes times the sum;
 * - its step, in 4 of 16 bytes;
 * - its values, 2 bytes each. For weights of 4 bits, of which four share a 16-bit word that the product masks without
 *   shifting the middle two, they stand in groups of 32: every fourth first, then those after them, and so on, times
 *   256, 16, 1 and 256. Products are then 256 times too large.
 */
export function quantize(x: usize, size: usize, width: usize, out: usize, nibbles: bool): void {
  const end = x + (((width + size - 1) / size) * size << 2);
  const block = size << 2;
  for (; x < end; x += block) {
    let most = f32x4.splat(0);
    for (let i: usize = 0; i < block; i += 16) most = f32x4.max(most, f32x4.abs(v128.load(x + i)));
    const largest = max(
      max(f32x4.extract_lane(most, 0), f32x4.extract_lane(most, 1)),
      max(f32x4.extract_lane(most, 2), f32x4.extract_lane(most, 3)),
    );
    const scale = largest / 127;
    const inverse = f32x4.splat(scale == 0 ? 0 : 1 / scale);
    let total = i32x4.splat(0);
    let to = out + 32;
    for (let i: usize = 0; i < block; i += 16) {
      let v = i32x4.trunc_sat_f32x4_s(f32x4.nearest(f32x4.mul(v128.load(x + i), inverse)));
      total = i32x4.add(total, v);
      if (!nibbles) {
        v128.store64_lane(to, i16x8.narrow_i32x4_s(v, v), 0);
        to += 8;
        continue;
      }
      v = i32x4.mul(v, i32x4(256, 16, 1, 256));
      v128.store16_lane(to, v, 0);
      v128.store16_lane(to, v, 2, 16);
      v128.store16_lane(to, v, 4, 32);
      v128.store16_lane(to, v, 6, 48);
      to += 2;
      if ((i & 127) == 112) to += 48;
    }
    const codes =
      i32x4.extract_lane(total, 0) + i32x4.extract_lane(total, 1) +
      i32x4.extract_lane(total, 2) + i32x4.extract_lane(total, 3);
    v128.store(out, i32x4.replace_lane(i32x4.splat(0), 0, nibbles ? -2048 * codes : -128 * codes));
    store<f32>(out, nibbles ? scale / 256 : scale, 16);
    out += 32 + (size << 1);
  }
}

/**
 * Rows of a matrix times a vector. Arguments: form, matrix, scales, x in that form, columns (form 0) or blocks of a row,
 * block size, rows, rows of a chunk, bias or 0, out, whether to add to what stands there.
 */
export function product(step: usize, chunk: usize): void {
  const most = arg(step, 7);
  const from = chunk * most;
  const rows = min(most, arg(step, 6) - from);
  const quarter = rows >> 2;
  for (let r: usize = 0; r < quarter; r++) fourRows(step, from + r, quarter);
  // Rows that are left are computed four times over, at one address.
  for (let r = quarter << 2; r < rows; r++) fourRows(step, from + r, 0);
}

/** Rows r, r + far, r + 2 far and r + 3 far. */
// @ts-ignore: decorator
@inline
function fourRows(step: usize, r: usize, far: usize): void {
  const form = arg(step, 0), x = arg(step, 3), length = arg(step, 4), size = arg(step, 5);
  const matrix = arg(step, 1), scales = arg(step, 2), scaleRow = length << 2;
  const out = arg(step, 9) + (r << 2), outFar = far << 2, add = arg(step, 10) != 0;
  const bias: usize = arg(step, 8) == 0 ? <usize>0 : arg(step, 8) + (r << 2);
  if (form == 0) {
    rowsF32(matrix + r * scaleRow, far * scaleRow, x, scaleRow, out, outFar, bias, add);
  } else if (form == 1) {
    const row = length * size;
    rowsQ8(matrix + r * row, far * row, scales + r * scaleRow, far * scaleRow, x, scaleRow, size, out, outFar, bias, add);
  } else {
    const row = (length * size) >> 1;
    rowsQ4(matrix + r * row, far * row, scales + r * scaleRow, far * scaleRow, x, scaleRow, size, out, outFar, bias, add);
  }
}

/** Four products, of the rows at p0 and at multiples of `far` behind it. */
function rowsF32(p0: usize, far: usize, x: usize, bytes: usize, out: usize, outFar: usize, bias: usize, add: bool): void {
  let a = f32x4.splat(0), b = a, c = a, d = a;
  let p1 = p0 + far, p2 = p1 + far, p3 = p2 + far;
  const end = x + (bytes & ~31);
  const last = x + bytes;
  for (; x < end; x += 32) {
    let v = v128.load(x);
    a = f32x4.add(a, f32x4.mul(v, v128.load(p0)));
    b = f32x4.add(b, f32x4.mul(v, v128.load(p1)));
    c = f32x4.add(c, f32x4.mul(v, v128.load(p2)));
    d = f32x4.add(d, f32x4.mul(v, v128.load(p3)));
    v = v128.load(x, 16);
    a = f32x4.add(a, f32x4.mul(v, v128.load(p0, 16)));
    b = f32x4.add(b, f32x4.mul(v, v128.load(p1, 16)));
    c = f32x4.add(c, f32x4.mul(v, v128.load(p2, 16)));
    d = f32x4.add(d, f32x4.mul(v, v128.load(p3, 16)));
    p0 += 32;
    p1 += 32;
    p2 += 32;
    p3 += 32;
  }
  for (; x < last; x += 4) {
    const v = v128.load32_zero(x);
    a = f32x4.add(a, f32x4.mul(v, v128.load32_zero(p0)));
    b = f32x4.add(b, f32x4.mul(v, v128.load32_zero(p1)));
    c = f32x4.add(c, f32x4.mul(v, v128.load32_zero(p2)));
    d = f32x4.add(d, f32x4.mul(v, v128.load32_zero(p3)));
    p0 += 4;
    p1 += 4;
    p2 += 4;
    p3 += 4;
  }
  put(a, b, c, d, out, outFar, bias, add);
}

function rowsQ8(
  p0: usize, far: usize, scale: usize, scaleFar: usize, x: usize, scaleBytes: usize, size: usize,
  out: usize, outFar: usize, bias: usize, add: bool,
): void {
  let fa = f32x4.splat(0), fb = fa, fc = fa, fd = fa;
  let p1 = p0 + far, p2 = p1 + far, p3 = p2 + far;
  const last = scale + scaleBytes;
  for (; scale < last; scale += 4) {
    const begin = v128.load(x);
    const unit = v128.load32_splat(x, 16);
    let a = begin, b = begin, c = begin, d = begin;
    x += 32;
    const end = x + (size << 1);
    for (; x < end; x += 32) {
      let v = v128.load(x);
      a = i32x4.add(a, i32x4.dot_i16x8_s(v, v128.load8x8_u(p0)));
      b = i32x4.add(b, i32x4.dot_i16x8_s(v, v128.load8x8_u(p1)));
      c = i32x4.add(c, i32x4.dot_i16x8_s(v, v128.load8x8_u(p2)));
      d = i32x4.add(d, i32x4.dot_i16x8_s(v, v128.load8x8_u(p3)));
      v = v128.load(x, 16);
      a = i32x4.add(a, i32x4.dot_i16x8_s(v, v128.load8x8_u(p0, 8)));
      b = i32x4.add(b, i32x4.dot_i16x8_s(v, v128.load8x8_u(p1, 8)));
      c = i32x4.add(c, i32x4.dot_i16x8_s(v, v128.load8x8_u(p2, 8)));
      d = i32x4.add(d, i32x4.dot_i16x8_s(v, v128.load8x8_u(p3, 8)));
      p0 += 16;
      p1 += 16;
      p2 += 16;
      p3 += 16;
    }
    let s = scale;
    fa = addBlock(fa, a, unit, s);
    s += scaleFar;
    fb = addBlock(fb, b, unit, s);
    s += scaleFar;
    fc = addBlock(fc, c, unit, s);
    s += scaleFar;
    fd = addBlock(fd, d, unit, s);
  }
  put(fa, fb, fc, fd, out, outFar, bias, add);
}

function rowsQ4(
  p0: usize, far: usize, scale: usize, scaleFar: usize, x: usize, scaleBytes: usize, size: usize,
  out: usize, outFar: usize, bias: usize, add: bool,
): void {
  let fa = f32x4.splat(0), fb = fa, fc = fa, fd = fa;
  let p1 = p0 + far, p2 = p1 + far, p3 = p2 + far;
  const last = scale + scaleBytes;
  for (; scale < last; scale += 4) {
    const begin = v128.load(x);
    const unit = v128.load32_splat(x, 16);
    let a = begin, b = begin, c = begin, d = begin;
    x += 32;
    const end = x + (size << 1);
    for (; x < end; x += 64) {
      const v0 = v128.load(x), v1 = v128.load(x, 16), v2 = v128.load(x, 32), v3 = v128.load(x, 48);
      a = addNibbles(a, v128.load(p0), v0, v1, v2, v3);
      b = addNibbles(b, v128.load(p1), v0, v1, v2, v3);
      c = addNibbles(c, v128.load(p2), v0, v1, v2, v3);
      d = addNibbles(d, v128.load(p3), v0, v1, v2, v3);
      p0 += 16;
      p1 += 16;
      p2 += 16;
      p3 += 16;
    }
    let s = scale;
    fa = addBlock(fa, a, unit, s);
    s += scaleFar;
    fb = addBlock(fb, b, unit, s);
    s += scaleFar;
    fc = addBlock(fc, c, unit, s);
    s += scaleFar;
    fd = addBlock(fd, d, unit, s);
  }
  put(fa, fb, fc, fd, out, outFar, bias, add);
}

/** Adds the products of 32 codes of 4 bits with values in the order of {@link quantize}. */
// @ts-ignore: decorator
@inline
function addNibbles(total: v128, codes: v128, v0: v128, v1: v128, v2: v128, v3: v128): v128 {
  total = i32x4.add(total, i32x4.dot_i16x8_s(v128.and(codes, i16x8.splat(0x000f)), v0));
  total = i32x4.add(total, i32x4.dot_i16x8_s(v128.and(codes, i16x8.splat(0x00f0)), v1));
  total = i32x4.add(total, i32x4.dot_i16x8_s(v128.and(codes, i16x8.splat(0x0f00)), v2));
  return i32x4.add(total, i32x4.dot_i16x8_s(i16x8.shr_u(codes, 12), v3));
}

// @ts-ignore: decorator
@inline
function addBlock(total: v128, block: v128, unit: v128, scale: usize): v128 {
  return f32x4.add(total, f32x4.mul(f32x4.convert_i32x4_s(block), f32x4.mul(unit, v128.load32_splat(scale))));
}

// @ts-ignore: decorator
@inline
function put(a: v128, b: v128, c: v128, d: v128, out: usize, far: usize, bias: usize, add: bool): void {
  putOne(sum(a), out, bias, add);
  if (far == 0) return;
  const biasFar: usize = bias == 0 ? <usize>0 : far;
  putOne(sum(b), out + far, bias + biasFar, add);
  putOne(sum(c), out + 2 * far, bias + 2 * biasFar, add);
  putOne(sum(d), out + 3 * far, bias + 3 * biasFar, add);
}

// @ts-ignore: decorator
@inline
function putOne(value: f32, out: usize, bias: usize, add: bool): void {
  if (bias != 0) value += load<f32>(bias);
  store<f32>(out, add ? load<f32>(out) + value : value);
}
