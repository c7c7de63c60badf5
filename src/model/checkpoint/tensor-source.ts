/**
 * What every checkpoint format gives: named tensors, known from the file's header alone, whose bytes are read when
 * asked for. Nothing here knows a format.
 */

/** Bytes of one element of each type. */
export const dtypeBytes = {
  f64: 8,
  f32: 4,
  f16: 2,
  bf16: 2,
  i64: 8,
  i32: 4,
  i16: 2,
  i8: 1,
  u8: 1,
  bool: 1,
} as const;

export type CheckpointDtype = keyof typeof dtypeBytes;

export interface CheckpointTensor {
  name: string;
  dtype: CheckpointDtype;
  /** Row-major; empty for a scalar. */
  shape: number[];
  /** Product of the shape, times the bytes of one element. */
  byteLength: number;
}

export interface TensorSource {
  /** In the order of the file. */
  readonly tensors: ReadonlyMap<string, CheckpointTensor>;
  /** File that holds this tensor, for messages. Throws `not-found`. */
  where(name: string): string;
  /**
   * The little-endian bytes [start, end) of a tensor's row-major data, all of them by default. They come in a buffer
   * of their own, from its offset 0, so that a typed array can be laid over them. Throws `not-found` for an unknown
   * name, `bad-argument` for a range outside the tensor, `bad-file` when the file has changed since it was opened.
   */
  read(name: string, start?: number, end?: number): Promise<Uint8Array>;
  /** Gives the files back. */
  close(): Promise<void>;
}
