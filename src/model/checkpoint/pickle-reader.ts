/** The bytes of a pickle, read forward, with errors that name the file and the byte of the opcode at work. */
import type { PicasoError } from "../../errors.js";
import { damaged, notSupported } from "./checkpoint-errors.js";

/** Longest text read, in bytes; the names of tensors and globals stay below 100. */
const maxStringBytes = 1024;

export class PickleReader {
  private readonly view: DataView;
  /** Next byte to read. */
  private at = 0;
  private opcodeAt = 0;

  constructor(
    private readonly bytes: Uint8Array,
    private readonly path: string,
  ) {
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  /** Bytes not yet read. */
  get left(): number {
    return this.bytes.length - this.at;
  }

  /** The next opcode; errors name its place until the next one is read. */
  opcode(): number {
    this.opcodeAt = this.at;
    return this.uint8();
  }

  uint8(): number {
    return this.view.getUint8(this.take(1));
  }

  uint16(): number {
    return this.view.getUint16(this.take(2), true);
  }

  uint32(): number {
    return this.view.getUint32(this.take(4), true);
  }

  int32(): number {
    return this.view.getInt32(this.take(4), true);
  }

  uint64(): bigint {
    return this.view.getBigUint64(this.take(8), true);
  }

  /** A two's complement integer, little-endian, as long as its first byte says. */
  long(): number {
    const length = this.uint8();
    const start = this.take(length);
    if (length > 8) throw this.refuse("integers of at most 8 bytes", `one of ${length}`);
    let bits = 0n;
    for (let i = 0; i < length; i++) bits |= BigInt(this.bytes[start + i]!) << BigInt(8 * i);
    const value = BigInt.asIntN(8 * length, bits);
    if (!Number.isSafeInteger(Number(value))) throw this.refuse("integers below 2^53", `${value}`);
    return Number(value);
  }

  /** The next `length` bytes as text. */
  string(length: number): string {
    const start = this.take(length);
    if (length > maxStringBytes) throw this.refuse(`strings of at most ${maxStringBytes} bytes`, `one of ${length}`);
    return this.decode(start, start + length);
  }

  /** Text up to a line feed. */
  line(): string {
    const start = this.at;
    const most = start + Math.min(this.left, maxStringBytes);
    let end = start;
    while (end < most && this.bytes[end] !== 0x0a) end++;
    if (end === most) throw this.damage("a name that ends with a line feed", `none within ${end - start} bytes`);
    this.at = end + 1;
    return this.decode(start, end);
  }

  where(): string {
    return `${this.path}, byte ${this.opcodeAt}`;
  }

  /** The `bad-file` error for the opcode at work. */
  damage(expected: string, found: string): PicasoError {
    return damaged(this.where(), expected, found);
  }

  /** The `unsupported` error for the opcode at work. */
  refuse(expected: string, found: string): PicasoError {
    return notSupported(this.where(), expected, found);
  }

  /** Offset of the next `count` bytes, which are there. */
  private take(count: number): number {
    if (count > this.left) throw this.damage(`${count} bytes more`, `the end of the pickle after ${this.left}`);
    this.at += count;
    return this.at - count;
  }

  private decode(start: number, end: number): string {
    try {
      return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(this.bytes.subarray(start, end));
    } catch (cause) {
      throw damaged(this.where(), "text in UTF-8", "other bytes", cause);
    }
  }
}
