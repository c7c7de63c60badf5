/** The plan of a token as the decoder's kernels read it (decode.as.ts): steps, each cut into chunks for the threads. */

/** Bytes of a step in memory, and where its arguments begin. */
export const STEP_BYTES = 192;
const ARGUMENTS = 2;

/** Numbers of the kinds in `execute` of decode.as.ts. */
const kinds = { embedF32: 0, embedQ8: 1, norm: 2, product: 3, convolve: 4, head: 5 } as const;

/** In the order of the kernel's arguments: addresses and counts, and floats that {@link float} made numbers of. */
export interface Step {
  kind: keyof typeof kinds;
  chunks: number;
  args: number[];
}

/** The four bytes of a float32, as an integer. */
export function float(value: number): number {
  return new Int32Array(Float32Array.of(value).buffer)[0]!;
}

/** Writes the steps one behind the other, with their counts at zero. */
export function writeSteps(steps: readonly Step[], into: Int32Array): void {
  into.fill(0);
  for (const [index, { kind, chunks, args }] of steps.entries()) {
    into.set([kinds[kind], chunks, ...args], (index * STEP_BYTES) / 4);
    if (ARGUMENTS + args.length > 32) throw new Error(`${kind} has too many arguments`);
  }
}

/** Chunks of a product: enough for many threads to finish together, each long enough for memory to be read in streams. */
const PRODUCT_CHUNKS = 32;

/** Rows of a chunk, a multiple of 4. */
export function chunkRows(rows: number): number {
  return Math.max(8, 4 * Math.ceil(rows / PRODUCT_CHUNKS / 4));
}

/** Channels of a chunk of the convolution. */
export const CONV_CHUNK = 256;
