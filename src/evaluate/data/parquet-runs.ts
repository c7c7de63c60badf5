/**
 * Parquet's run-length encoding with bit packing ("RLE/bit-packed hybrid"), as used for levels and dictionary indices:
 * checked, before it is decoded, for runs that are longer than the values announced.
 */
import { damagedParquet } from "./parquet-errors.js";

export interface RunSummary {
  /** The greatest value; -1 of none. */
  greatest: number;
  /** How many values equal `counted`. */
  matches: number;
}

/** Reads through the runs in bytes [start, end) up to `count` values of `width` bits. */
export function summarizeRuns(
  bytes: Uint8Array,
  [start, end]: readonly [number, number],
  width: number,
  count: number,
  counted: number,
  where: string,
): RunSummary {
  const wrong = (found: string) => damagedParquet(where, `runs of ${count} values of ${width} bits`, found);
  if (width > 32) throw wrong("wider values");
  let offset = start;
  let seen = 0;
  let greatest = -1;
  let matches = 0;
  const note = (value: number, times: number) => {
    if (value > greatest) greatest = value;
    if (value === counted) matches += times;
    seen += times;
  };
  const next = () => {
    if (offset >= end) throw wrong(`their end after ${seen}`);
    return bytes[offset++]!;
  };
  while (seen < count) {
    const head = varint(next, wrong);
    const length = Math.floor(head / 2);
    if (head % 2 === 0) {
      let value = 0;
      for (let shift = 0; shift < width; shift += 8) value += next() * 2 ** shift;
      if (length > count - seen) throw wrong(`a run of ${length} after ${seen}`);
      note(value, length);
    } else {
      // Groups of eight values, the last one filled up; a group takes `width` bytes.
      const packedBytes = length * width;
      if (packedBytes > end - offset) throw wrong(`${packedBytes} packed bytes where ${end - offset} are left`);
      const values = Math.min(length * 8, count - seen);
      for (let i = 0; i < values; i++) note(packedValue(bytes, offset, i * width, width), 1);
      offset += packedBytes;
      // Such a run has no bytes to bound its length.
      if (width === 0 && length * 8 >= count + 8) throw wrong(`a run of ${length * 8}`);
    }
  }
  return { greatest, matches };
}

/** The value in `width` bits from bit `from` on, the lowest bit first. */
function packedValue(bytes: Uint8Array, offset: number, from: number, width: number): number {
  let value = 0;
  for (let done = 0; done < width; ) {
    const bit = from + done;
    const take = Math.min(8 - (bit & 7), width - done);
    const part = (bytes[offset + (bit >>> 3)]! >>> (bit & 7)) & ((1 << take) - 1);
    value += part * 2 ** done;
    done += take;
  }
  return value;
}

function varint(next: () => number, wrong: (found: string) => Error): number {
  let result = 0;
  for (let i = 0; i < 5; i++) {
    const byte = next();
    result += (byte & 127) * 2 ** (7 * i);
    if (byte < 128) return result;
  }
  throw wrong("a number of more than 5 bytes");
}
