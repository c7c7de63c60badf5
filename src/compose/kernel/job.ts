/** What a weighted sum is made of: terms in memory or in files, and their weights. */
import { PicasoError } from "../../errors.js";
import type { Codec } from "../../state/codec.js";

/** Bytes of an open file, part of data with a checksum that end at `dataEnd`; a whole number of words before that. */
export interface FileBytes {
  fd: number;
  begin: number;
  byteLength: number;
  dataEnd: number;
}

/** Bytes in the memory that the kernel works in: they are summed where they stand. */
export interface KernelBytes {
  address: number;
  byteLength: number;
}

export type TermBytes = Uint8Array | FileBytes | KernelBytes;

/** An array of values as a codec stores them. */
export interface Term {
  codec: Codec;
  values: TermBytes;
  /** int8: one float32 for each row of `width` values; null for other codecs. */
  scales: TermBytes | null;
  /** Values of a row; 1 where that does not matter. */
  width: number;
}

/**
 * out = sum_k weights_k terms_k, where the weight is constant over each block of `blockLength` values. Blocks are
 * independent of each other: ranges of them can be summed by several threads at once.
 */
export interface WeightedSumJob<Out = Float32Array> {
  /** n >= 1 arrays of blocks x blockLength values, of one codec; rows do not cross blocks. */
  terms: readonly Term[];
  /** [blocks, n] */
  weights: Float32Array;
  blockLength: number;
  /** blocks x blockLength elements of float32; not one of the terms. */
  out: Out;
}

export const bytesPerValue: Record<Codec, number> = { f32: 4, bf16: 2, int8: 1 };

/** Float32 values in memory. */
export function floatTerm(array: Float32Array): Term {
  const values = new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
  return { codec: "f32", values, scales: null, width: 1 };
}

/** Throws `bad-argument` unless all lengths fit. */
export function checkJob(
  { terms, weights, blockLength, out }: WeightedSumJob<{ byteLength: number }>,
  fromBlock: number,
  toBlock: number,
): void {
  const first = terms[0];
  if (first === undefined) throw badArgument("terms", "one or more", "none");
  const { codec, width } = first;
  const outLength = out.byteLength / 4;
  const blocks = outLength / blockLength;
  if (!Number.isInteger(blocks)) throw badArgument("out", `whole blocks of ${blockLength}`, `${outLength} elements`);
  if (!Number.isInteger(blockLength / width)) {
    throw badArgument("blocks", `whole rows of ${width}`, `${blockLength} elements`);
  }
  if (!Number.isInteger(fromBlock) || !Number.isInteger(toBlock) || fromBlock < 0 || toBlock > blocks) {
    throw badArgument("blocks", `whole numbers from 0 to ${blocks}`, `${fromBlock} to ${toBlock}`);
  }
  for (const [k, term] of terms.entries()) {
    if (term.codec !== codec || term.width !== width) {
      throw badArgument(`term ${k}`, `${codec} in rows of ${width}, as term 0`, `${term.codec} of ${term.width}`);
    }
    const length = term.values.byteLength / bytesPerValue[codec];
    if (length !== outLength) throw badArgument(`term ${k}`, `${outLength} elements`, `${length}`);
    const scales = term.scales === null ? 0 : term.scales.byteLength / 4;
    const expected = codec === "int8" ? outLength / width : 0;
    if (scales !== expected) throw badArgument(`term ${k}`, `${expected} scales`, `${scales}`);
  }
  const expected = blocks * terms.length;
  if (weights.length !== expected) throw badArgument("weights", `${expected} values`, `${weights.length}`);
}

function badArgument(where: string, expected: string, found: string): PicasoError {
  const next = "Pass arrays of one shape, with one weight for each block and term.";
  return new PicasoError("bad-argument", { where: `weighted sum, ${where}`, expected, found, next });
}
