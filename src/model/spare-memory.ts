/**
 * Memory for the states of batches, kept from one batch to the next: fresh pages take longer to come by than the states
 * to be copied into them.
 */

/** Bytes that are kept at most. */
const mostKept = 64e6;

export class SpareMemory {
  private spare: Float32Array | undefined;

  /** `size` values or more, of any content; nobody else has them until they are given back. */
  take(size: number): Float32Array {
    const { spare } = this;
    if (!spare || spare.length < size) return new Float32Array(size);
    this.spare = undefined;
    return spare;
  }

  /** The caller must not use them any more. */
  giveBack(memory: Float32Array): void {
    if (memory.byteLength <= mostKept && memory.length > (this.spare?.length ?? 0)) this.spare = memory;
  }
}
