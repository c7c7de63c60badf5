/** Pages of a Parquet file out of their compression. Needs Node. */
import zlib from "node:zlib";
import { type CompressionCodec, snappyUncompress } from "hyparquet";
import { damagedParquet, decoding, unsupportedParquet } from "./parquet-errors.js";

type Inflate = (bytes: Uint8Array, options: { maxOutputLength: number }) => Uint8Array;

/** Node has it from 22.15 on. */
const zstd = (zlib as unknown as { zstdDecompressSync?: Inflate }).zstdDecompressSync;

const inflaters: Partial<Record<CompressionCodec, Inflate>> = {
  GZIP: zlib.gunzipSync,
  BROTLI: zlib.brotliDecompressSync,
  ...(zstd && { ZSTD: zstd }),
};

/** The `length` bytes that `bytes` are compressed from, in a buffer of their own that has no others. */
export function decompress(bytes: Uint8Array, length: number, codec: CompressionCodec, where: string): Uint8Array {
  const wrong = (found: string) => damagedParquet(where, `a page of ${length} bytes`, found);
  if (codec === "UNCOMPRESSED") {
    if (bytes.length !== length) throw wrong(`${bytes.length}`);
    return bytes.slice();
  }
  if (length === 0) return new Uint8Array(0);
  if (codec === "SNAPPY") {
    // Three bytes of Snappy stand for 64 at most.
    if (length > bytes.length * 22) throw wrong(`${bytes.length} bytes of Snappy, too few for it`);
    const output = new Uint8Array(length);
    decoding(where, () => snappyUncompress(bytes, output));
    return output;
  }
  const inflate = inflaters[codec];
  if (!inflate) {
    const newer = codec === "ZSTD" ? " (read with Node 22.15 or newer)" : "";
    throw unsupportedParquet(where, "pages compressed by Snappy, gzip or Brotli, or not at all", `${codec}${newer}`);
  }
  const output = decoding(where, () => inflate(bytes, { maxOutputLength: length }));
  if (output.length !== length) throw wrong(`${output.length}`);
  return new Uint8Array(output);
}
