/**
 * Checks on the structures in which a Parquet file describes itself (Apache Thrift's compact protocol), made before
 * they are decoded: no number, list or nesting may be larger than its bytes can bear.
 */
import { damagedParquet } from "./parquet-errors.js";

const maxDepth = 32;

/** The compact protocol's type numbers, as far as Parquet uses them. */
const types = { true: 1, false: 2, byte: 3, i16: 4, i32: 5, i64: 6, double: 7, binary: 8, list: 9, struct: 12 };

/** The offset behind the struct that begins at `start`. Throws `bad-file` where there is no well-formed one. */
export function structEnd(bytes: Uint8Array, start: number, where: string): number {
  const walk = new Walk(bytes, start, where);
  walk.struct(1);
  return walk.offset;
}

class Walk {
  constructor(
    private readonly bytes: Uint8Array,
    public offset: number,
    private readonly where: string,
  ) {}

  struct(depth: number): void {
    if (depth > maxDepth) throw this.malformed(`nesting deeper than ${maxDepth}`);
    for (let field = this.byte(); field % 16 !== 0; field = this.byte()) {
      // The upper half is the step from the last field's number, or 0 where the number follows.
      if (field < 16) this.varint(3);
      const type = field % 16;
      // In a field, the type of a boolean is its value.
      if (type !== types.true && type !== types.false) this.value(type, depth);
    }
  }

  private value(type: number, depth: number): void {
    if (type === types.true || type === types.false || type === types.byte) this.skip(1);
    else if (type === types.i16 || type === types.i32) this.varint(5);
    else if (type === types.i64) this.varint(10);
    else if (type === types.double) this.skip(8);
    else if (type === types.binary) this.skip(this.varint(5));
    else if (type === types.list) this.list(depth + 1);
    else if (type === types.struct) this.struct(depth + 1);
    else throw this.malformed(`a value of type ${type}`);
  }

  private list(depth: number): void {
    if (depth > maxDepth) throw this.malformed(`nesting deeper than ${maxDepth}`);
    const head = this.byte();
    const length = head < 240 ? head >> 4 : this.varint(5);
    for (let i = 0; i < length; i++) this.value(head % 16, depth);
  }

  private byte(): number {
    this.skip(1);
    return this.bytes[this.offset - 1]!;
  }

  private skip(count: number): void {
    const left = this.bytes.length - this.offset;
    if (count > left) throw this.malformed(`${count} bytes where ${left} are left`);
    this.offset += count;
  }

  private varint(maxBytes: number): number {
    let result = 0;
    for (let i = 0; i < maxBytes; i++) {
      const next = this.byte();
      result += (next % 128) * 128 ** i;
      if (next < 128) return result;
    }
    throw this.malformed(`a number of more than ${maxBytes} bytes`);
  }

  private malformed(found: string) {
    return damagedParquet(this.where, "a well-formed structure", found);
  }
}
