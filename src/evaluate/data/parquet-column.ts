/** One column of one row group: its pages, decoded in order. */
import type { DecodedArray, PageHeader, ParquetParsers } from "hyparquet";
import { parquetHeader, readPage } from "hyparquet/src/column.js";
import { convert, DEFAULT_PARSERS } from "hyparquet/src/convert.js";
import { damagedParquet, unsupportedParquet } from "./parquet-errors.js";
import type { ColumnChunk } from "./parquet-footer.js";
import { openPage, type PageColumn } from "./parquet-page.js";
import { structEnd } from "./parquet-thrift.js";

const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** Text must be UTF-8; times become ISO 8601 text to the millisecond. */
const parsers: ParquetParsers = {
  ...DEFAULT_PARSERS,
  stringFromBytes: (bytes) => bytes && utf8.decode(bytes),
  timestampFromMilliseconds: (time) => isoTime(time),
  timestampFromMicroseconds: (time) => isoTime(floorDivide(time, 1000n)),
  timestampFromNanoseconds: (time) => isoTime(floorDivide(time, 1_000_000n)),
  dateFromDays: (days) => new Date(days * 86_400_000).toISOString().slice(0, 10),
};

/** The column's entries, in parts: one entry a row, lists and nulls in place. */
export function decodeColumn(bytes: Uint8Array, chunk: ColumnChunk, where: string): DecodedArray[] {
  const { metadata, path, values } = chunk;
  const column: PageColumn = { path, metadata, dictionarySize: 0, where };
  const decoder = {
    pathInSchema: metadata.path_in_schema,
    type: metadata.type,
    element: path.at(-1)!.element,
    schemaPath: path,
    codec: "UNCOMPRESSED" as const,
    parsers,
    // Only what is marked as text is text.
    utf8: false,
  };
  const parts: DecodedArray[] = [];
  let dictionary: DecodedArray | undefined;
  let seen = 0;
  for (let offset = 0; seen < values; ) {
    const bodyStart = structEnd(bytes, offset, where);
    const header = parquetHeader({ view: new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength), offset });
    offset = bodyStart + checkedSize(header, bytes.length - bodyStart, where);
    const count = valueCount(header, where);
    if (count === undefined) continue;
    if (count > values - seen && !header.dictionary_page_header) {
      throw damagedParquet(where, `${values} values`, `pages with at least ${seen + count}`);
    }
    if (count === 0) continue;
    const page = openPage(bytes.subarray(bodyStart, offset), header, column);
    const reader = { view: new DataView(page.bytes.buffer, page.bytes.byteOffset, page.bytes.byteLength), offset: 0 };
    const last = parts.at(-1);
    const { data } = readPage(reader, page.header, decoder, dictionary, last, 0);
    if (!data) throw damagedParquet(where, `a page of ${count} values`, "none");
    if (header.dictionary_page_header) {
      dictionary = convert(data, decoder);
      column.dictionarySize = dictionary.length;
    } else {
      seen += count;
      // A page that goes on with the last row of the page before is appended to that one's part.
      if (data !== last) parts.push(data);
    }
  }
  return parts;
}

/** Values and nulls of a page; undefined for pages that hold none of the column's. */
function valueCount(header: PageHeader, where: string): number | undefined {
  if (header.type === "INDEX_PAGE") return undefined;
  const expected = {
    DATA_PAGE: header.data_page_header,
    DATA_PAGE_V2: header.data_page_header_v2,
    DICTIONARY_PAGE: header.dictionary_page_header,
  }[header.type];
  const headers = [header.data_page_header, header.data_page_header_v2, header.dictionary_page_header];
  if (!expected || headers.filter(Boolean).length !== 1) {
    throw unsupportedParquet(where, "a page of data or a dictionary", String(header.type));
  }
  const count: unknown = expected.num_values;
  if (Number.isSafeInteger(count) && (count as number) >= 0) return count as number;
  throw damagedParquet(where, "a number of values", String(count));
}

/** The bytes of the page in the file. */
function checkedSize(header: PageHeader, left: number, where: string): number {
  const { compressed_page_size: size, uncompressed_page_size: full } = header;
  if (Number.isSafeInteger(size) && Number.isSafeInteger(full) && size >= 0 && full >= 0 && size <= left) return size;
  throw damagedParquet(where, `a page of at most ${left} bytes`, `${size}, ${full} when decompressed`);
}

function isoTime(milliseconds: bigint): string {
  return new Date(Number(milliseconds)).toISOString();
}

function floorDivide(value: bigint, by: bigint): bigint {
  const quotient = value / by;
  return value % by < 0n ? quotient - 1n : quotient;
}
