/** AssemblyScript: the convolution and the recurrence of one token, whose states change in place. */
import { arg, floatArg } from "./arguments.as";
import { silu } from "./vectors.as";

/**
 * Depthwise causal convolution, then silu, of one new input; the state moves on by it. Arguments: x, state (the last
 * inputs, oldest first), weight [channels, width + 1], bias or 0, channels, width, channels of a chunk, out.
 */
export function convolve(step: usize, chunk: usize): void {
  const channels = arg(step, 4), width = arg(step, 5), taps = width + 1;
  const from = chunk * arg(step, 6);
  const to = min(from + arg(step, 6), channels);
  const x = arg(step, 0), state = arg(step, 1), weight = arg(step, 2);
  const bias = arg(step, 3), out = arg(step, 7);
  const row = channels << 2;
  let i = from;
  for (; i + 4 <= to; i += 4) {
    const at = i << 2;
    let w = weight + at * taps;
    let total = bias == 0 ? f32x4.splat(0) : v128.load(bias + at);
    const input = v128.load(x + at);
    let place = state + at;
    for (let k: usize = 0; k < width; k++) {
      const next = k + 1 < width ? v128.load(place + row) : input;
      total = f32x4.add(total, f32x4.mul(column(w, taps << 2), v128.load(place)));
      v128.store(place, next);
      place += row;
      w += 4;
    }
    total = f32x4.add(total, f32x4.mul(column(w, taps << 2), input));
    v128.store(out + at, silu(total));
  }
  for (; i < to; i++) {
    const at = i << 2;
    let w = weight + at * taps;
    let total: f32 = bias == 0 ? 0 : load<f32>(bias + at);
    const input = load<f32>(x + at);
    let place = state + at;
    for (let k: usize = 0; k < width; k++) {
      const next = k + 1 < width ? load<f32>(place + row) : input;
      total += load<f32>(w) * load<f32>(place);
      store<f32>(place, next);
      place += row;
      w += 4;
    }
    total += load<f32>(w) * input;
    store<f32>(out + at, f32x4.extract_lane(silu(f32x4.splat(total)), 0));
  }
}

/** Four numbers that stand `far` bytes apart. */
// @ts-ignore: decorator
@inline
function column(p: usize, far: usize): v128 {
  let v = v128.load32_zero(p);
  v = v128.load32_lane(p + far, v, 1);
  v = v128.load32_lane(p + 2 * far, v, 2);
  return v128.load32_lane(p + 3 * far, v, 3);
}

/**
 * All of one head between the convolution and the output norm: time step, transition, state and output in one pass over
 * the state, then D and the gate. Arguments: raw time steps, their bias, least and largest time step, A_log, u, B, C, D,
 * state [heads, state size, head size], state size, head size, log transitions (written), heads of a group, gate, out.
 */
export function head(step: usize, h: usize): void {
  const line = h << 2;
  const stateSize = arg(step, 10), bytes = arg(step, 11) << 2;
  const raw = <f64>(load<f32>(arg(step, 0) + line) + load<f32>(arg(step, 1) + line));
  const softplus = <f32>(raw > 0 ? raw + NativeMath.log1p(exponential(-raw)) : NativeMath.log1p(exponential(raw)));
  const dt = min(max(softplus, floatArg(step, 2)), floatArg(step, 3));
  const logA = dt * -<f32>exponential(<f64>load<f32>(arg(step, 4) + line));
  store<f32>(arg(step, 12) + line, logA);
  const decay = <f32>exponential(<f64>logA);

  const own = h * bytes;
  const u = arg(step, 5) + own, gate = arg(step, 14) + own, y = arg(step, 15) + own;
  const shared = (h / arg(step, 13)) * (stateSize << 2);
  const b = arg(step, 6) + shared, c = arg(step, 7) + shared;
  const skip = load<f32>(arg(step, 8) + line);
  advance(arg(step, 9) + h * stateSize * bytes, u, dt, decay, b, c, y, stateSize, bytes);

  let p: usize = 0;
  for (; p + 16 <= bytes; p += 16) {
    const whole = f32x4.add(v128.load(y + p), f32x4.mul(f32x4.splat(skip), v128.load(u + p)));
    v128.store(y + p, f32x4.mul(whole, silu(v128.load(gate + p))));
  }
  for (; p < bytes; p += 4) {
    const opened = f32x4.extract_lane(silu(v128.load32_splat(gate + p)), 0);
    store<f32>(y + p, (load<f32>(y + p) + skip * load<f32>(u + p)) * opened);
  }
}

/**
 * S = decay S + b (x) dt u, y = c S. Four rows of S at a time, so that y is not loaded and stored for each; they stand a
 * quarter of the rows apart, as in products.as.ts.
 */
function advance(state: usize, u: usize, dt: f32, decay: f32, b: usize, c: usize, y: usize, rows: usize, bytes: usize): void {
  memory.fill(y, 0, bytes);
  const a = f32x4.splat(decay);
  const step = f32x4.splat(dt);
  const vectors = bytes & ~15;
  const quarter = rows >> 2;
  const far = quarter * bytes, line = quarter << 2;
  for (let n: usize = 0; n < quarter; n++) {
    const b0 = b + (n << 2), b1 = b0 + line, b2 = b1 + line, b3 = b2 + line;
    const c0 = c + (n << 2), c1 = c0 + line, c2 = c1 + line, c3 = c2 + line;
    const s0 = state + n * bytes, s1 = s0 + far, s2 = s1 + far, s3 = s2 + far;
    const vb0 = v128.load32_splat(b0), vb1 = v128.load32_splat(b1), vb2 = v128.load32_splat(b2), vb3 = v128.load32_splat(b3);
    const vc0 = v128.load32_splat(c0), vc1 = v128.load32_splat(c1), vc2 = v128.load32_splat(c2), vc3 = v128.load32_splat(c3);
    for (let p: usize = 0; p < vectors; p += 16) {
      const x = f32x4.mul(step, v128.load(u + p));
      let total = v128.load(y + p);
      let s = f32x4.add(f32x4.mul(a, v128.load(s0 + p)), f32x4.mul(vb0, x));
      v128.store(s0 + p, s);
      total = f32x4.add(total, f32x4.mul(vc0, s));
      s = f32x4.add(f32x4.mul(a, v128.load(s1 + p)), f32x4.mul(vb1, x));
      v128.store(s1 + p, s);
      total = f32x4.add(total, f32x4.mul(vc1, s));
      s = f32x4.add(f32x4.mul(a, v128.load(s2 + p)), f32x4.mul(vb2, x));
      v128.store(s2 + p, s);
      total = f32x4.add(total, f32x4.mul(vc2, s));
      s = f32x4.add(f32x4.mul(a, v128.load(s3 + p)), f32x4.mul(vb3, x));
      v128.store(s3 + p, s);
      v128.store(y + p, f32x4.add(total, f32x4.mul(vc3, s)));
    }
    if (vectors == bytes) continue;
    advanceOne(s0, u, dt, decay, load<f32>(b0), load<f32>(c0), y, vectors, bytes);
    advanceOne(s1, u, dt, decay, load<f32>(b1), load<f32>(c1), y, vectors, bytes);
    advanceOne(s2, u, dt, decay, load<f32>(b2), load<f32>(c2), y, vectors, bytes);
    advanceOne(s3, u, dt, decay, load<f32>(b3), load<f32>(c3), y, vectors, bytes);
  }
  for (let n = quarter << 2; n < rows; n++) {
    advanceOne(state + n * bytes, u, dt, decay, load<f32>(b + (n << 2)), load<f32>(c + (n << 2)), y, 0, bytes);
  }
}

/** Of one row of the state, the values from `begin` on. */
function advanceOne(state: usize, u: usize, dt: f32, decay: f32, b: f32, c: f32, y: usize, begin: usize, end: usize): void {
  for (let p = begin; p < end; p += 4) {
    const s = decay * load<f32>(state + p) + b * (dt * load<f32>(u + p));
    store<f32>(state + p, s);
    store<f32>(y + p, load<f32>(y + p) + c * s);
  }
}

/** Few are needed, in float64; `Math.exp` would bring a table into the memory. */
// @ts-ignore: decorator
@inline
function exponential(x: f64): f64 {
  return NativeMath.expm1(x) + 1;
}
