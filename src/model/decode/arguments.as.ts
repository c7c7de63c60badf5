/** AssemblyScript: the arguments of a step, 4 bytes each behind its kind and its number of chunks. */

// @ts-ignore: decorator
@inline
export function arg(step: usize, index: usize): usize {
  return <usize>load<u32>(step + (index << 2), 8);
}

// @ts-ignore: decorator
@inline
export function floatArg(step: usize, index: usize): f32 {
  return load<f32>(step + (index << 2), 8);
}
