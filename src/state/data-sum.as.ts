/**
 * AssemblyScript source of the data sum (data-sum.ts): Fletcher's two sums over the 32-bit words from `begin` to `end`,
 * a multiple of 16 bytes, in 64-bit arithmetic. Writes A and B to `result`, of data that go on for `after` words of zeros.
 *
 * Word 4m + j goes into lane j of four, each with its own two sums; B of all words follows from those of the lanes.
 */
export function dataSum(begin: usize, end: usize, result: usize, after: f64): void {
  let a01 = i64x2.splat(0);
  let a23 = a01;
  let b01 = a01;
  let b23 = a01;
  for (let at = begin; at < end; at += 16) {
    const words = v128.load(at);
    a01 = i64x2.add(a01, i64x2.extend_low_i32x4_u(words));
    a23 = i64x2.add(a23, i64x2.extend_high_i32x4_u(words));
    b01 = i64x2.add(b01, a01);
    b23 = i64x2.add(b23, a23);
  }
  const a0 = i64x2.extract_lane(a01, 0);
  const a1 = i64x2.extract_lane(a01, 1);
  const a2 = i64x2.extract_lane(a23, 0);
  const a3 = i64x2.extract_lane(a23, 1);
  const b = i64x2.add(b01, b23);
  const a = a0 + a1 + a2 + a3;
  const own = 4 * (i64x2.extract_lane(b, 0) + i64x2.extract_lane(b, 1)) - a1 - 2 * a2 - 3 * a3;
  store<i64>(result, a);
  store<i64>(result, own + <i64>after * a, 8);
}
