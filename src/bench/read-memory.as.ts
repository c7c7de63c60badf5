/**
 * AssemblyScript source of the memory reader: reads all from 0 to `end`, a multiple of 512 bytes, as eight streams side
 * by side, which keeps more reads under way than one does. Into four registers.
 */
export function readMemory(end: usize): i32 {
  let a = i32x4.splat(0);
  let b = a;
  let c = a;
  let d = a;
  const part = end >> 3;
  for (let start: usize = 0; start < part; start += 64) {
    for (let at = start; at < end; at += part) {
      a = v128.xor(a, v128.load(at));
      b = v128.xor(b, v128.load(at, 16));
      c = v128.xor(c, v128.load(at, 32));
      d = v128.xor(d, v128.load(at, 48));
    }
  }
  return i32x4.extract_lane(v128.xor(v128.xor(a, b), v128.xor(c, d)), 0);
}
