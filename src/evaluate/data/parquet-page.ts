/**
 * One page of a Parquet column: decompressed and checked, so that decoding it can neither run out of its bytes nor make
 * more values than the page announces. Pages exist in two versions, which differ in where levels are and what is compressed.
 *
 * A value's definition level says how deep its optional and repeated parents are present (the greatest level: the value
 * itself is); its repetition level says which list it continues (0: it begins a row).
 */
import type { ColumnMetaData, PageHeader, SchemaTree } from "hyparquet";
import { getMaxDefinitionLevel, getMaxRepetitionLevel } from "hyparquet/src/schema.js";
import { decompress } from "./parquet-decompress.js";
import { damagedParquet, unsupportedParquet } from "./parquet-errors.js";
import { summarizeRuns } from "./parquet-runs.js";

export interface PageColumn {
  path: SchemaTree[];
  metadata: ColumnMetaData;
  /** Entries of its dictionary; 0 without one. */
  dictionarySize: number;
  where: string;
}

export interface OpenPage {
  /** Levels and values without compression, in a buffer of their own. */
  bytes: Uint8Array;
  /** The page's header, for these bytes. */
  header: PageHeader;
}

export function openPage(body: Uint8Array, header: PageHeader, column: PageColumn): OpenPage {
  const open = header.data_page_header_v2 ? openPageV2 : openPageV1;
  const { bytes, header: opened } = open(body, header, column);
  return { bytes, header: { ...opened, compressed_page_size: bytes.length, uncompressed_page_size: bytes.length } };
}

function openPageV1(body: Uint8Array, header: PageHeader, column: PageColumn): OpenPage {
  const { where } = column;
  const page = decompress(body, header.uncompressed_page_size, column.metadata.codec, where);
  if (header.dictionary_page_header) {
    const { num_values, encoding } = header.dictionary_page_header;
    if (encoding !== "PLAIN" && encoding !== "PLAIN_DICTIONARY") {
      throw unsupportedParquet(where, "a dictionary of plain values", String(encoding));
    }
    checkPlainSize(page, 0, num_values, column);
    return { bytes: page, header };
  }
  const { num_values, encoding, definition_level_encoding, repetition_level_encoding } = header.data_page_header!;
  const levels = (most: number, start: number, kind: string | undefined) => {
    if (most === 0) return { matches: num_values, end: start };
    if (kind !== "RLE") throw unsupportedParquet(where, "levels in RLE encoding", String(kind));
    const end = start + 4 + lengthAt(page, start, where);
    return { ...checkLevels(page, [start + 4, end], most, num_values, where), end };
  };
  const repetition = levels(getMaxRepetitionLevel(column.path), 0, repetition_level_encoding);
  const definition = levels(getMaxDefinitionLevel(column.path), repetition.end, definition_level_encoding);
  checkValues(page, definition.end, encoding, definition.matches, column);
  return { bytes: page, header };
}

function openPageV2(body: Uint8Array, header: PageHeader, column: PageColumn): OpenPage {
  const { where } = column;
  const { num_values, encoding, is_compressed, ...lengths } = header.data_page_header_v2!;
  const repetitionEnd = lengths.repetition_levels_byte_length;
  const levelsEnd = repetitionEnd + lengths.definition_levels_byte_length;
  const valueBytes = header.uncompressed_page_size - levelsEnd;
  const most = { repetition: getMaxRepetitionLevel(column.path), definition: getMaxDefinitionLevel(column.path) };
  const isWithin = repetitionEnd >= 0 && levelsEnd >= repetitionEnd && levelsEnd <= body.length && valueBytes >= 0;
  if (!isWithin || (most.definition === 0 && levelsEnd > repetitionEnd)) {
    throw damagedParquet(where, `levels within the page's ${body.length} bytes`, `${levelsEnd} bytes of levels`);
  }
  if (most.repetition > 0) checkLevels(body, [0, repetitionEnd], most.repetition, num_values, where);
  let present = num_values;
  if (most.definition > 0) {
    present = checkLevels(body, [repetitionEnd, levelsEnd], most.definition, num_values, where).matches;
  }
  const codec = is_compressed === false ? "UNCOMPRESSED" : column.metadata.codec;
  const values = decompress(body.subarray(levelsEnd), valueBytes, codec, where);
  checkValues(values, 0, encoding, present, column);
  const page = new Uint8Array(levelsEnd + values.length);
  page.set(body.subarray(0, levelsEnd));
  page.set(values, levelsEnd);
  // Writers differ in whether the header counts empty lists as nulls; the levels are certain.
  const nulls = { num_nulls: num_values - present, is_compressed: false };
  return { bytes: page, header: { ...header, data_page_header_v2: { ...header.data_page_header_v2!, ...nulls } } };
}

function checkLevels(page: Uint8Array, range: readonly [number, number], most: number, count: number, where: string) {
  const width = 32 - Math.clz32(most);
  const { greatest, matches } = summarizeRuns(page, range, width, count, most, where);
  if (greatest > most) throw damagedParquet(where, `levels up to ${most}`, `${greatest}`);
  return { matches };
}

/** Checks the `count` values from `start` on, as far as their number is not bounded by their bytes. */
function checkValues(
  page: Uint8Array,
  start: number,
  encoding: string | undefined,
  count: number,
  column: PageColumn,
): void {
  const { where, metadata, dictionarySize } = column;
  const isDictionary = encoding === "PLAIN_DICTIONARY" || encoding === "RLE_DICTIONARY";
  if (encoding === "PLAIN" || encoding === "BYTE_STREAM_SPLIT") checkPlainSize(page, start, count, column);
  else if (isDictionary && count > 0) {
    if (start >= page.length) throw damagedParquet(where, `${count} indices of a dictionary`, "none");
    const { greatest } = summarizeRuns(page, [start + 1, page.length], page[start]!, count, 0, where);
    if (greatest >= dictionarySize) throw damagedParquet(where, `indices below ${dictionarySize}`, `${greatest}`);
  } else if (encoding === "RLE" && metadata.type === "BOOLEAN") {
    const end = start + 4 + lengthAt(page, start, where);
    summarizeRuns(page, [start + 4, end], 1, count, 0, where);
  } else if (encoding === "DELTA_BINARY_PACKED" || encoding === "DELTA_LENGTH_BYTE_ARRAY") {
    if (count > 0) checkDeltaHead(page, start, count, where);
  } else if (!isDictionary) {
    throw unsupportedParquet(where, "plain, dictionary, RLE or delta values", String(encoding));
  }
}

function checkPlainSize(page: Uint8Array, start: number, count: number, { path, metadata, where }: PageColumn): void {
  const fixed = path.at(-1)!.element.type_length ?? 0;
  const bits = { BOOLEAN: 1, INT32: 32, INT64: 64, INT96: 96, FLOAT: 32, DOUBLE: 64, BYTE_ARRAY: 32 };
  const each = metadata.type === "FIXED_LEN_BYTE_ARRAY" ? fixed * 8 : bits[metadata.type];
  if (!(each > 0 && count >= 0 && start + (count * each) / 8 <= page.length)) {
    throw damagedParquet(where, `${count} values of at least ${each} bits`, `${page.length - start} bytes`);
  }
}

/** The numbers at the start of delta encoding: values in a block, parts of a block, values in all. */
function checkDeltaHead(page: Uint8Array, start: number, count: number, where: string): void {
  let offset = start;
  const number = () => {
    let result = 0;
    for (let i = 0; i < 5 && offset < page.length; i++) {
      const byte = page[offset++]!;
      result += (byte & 127) * 2 ** (7 * i);
      if (byte < 128) return result;
    }
    throw damagedParquet(where, "the head of delta encoding", "something else");
  };
  const [block, parts, total] = [number(), number(), number()];
  if (block <= 65_536 && parts > 0 && block % (parts * 8) === 0 && block > 0 && total === count) return;
  throw damagedParquet(where, `delta encoding of ${count} values`, `${total} in blocks of ${block} in ${parts} parts`);
}

/** The length that stands before levels. */
function lengthAt(page: Uint8Array, offset: number, where: string): number {
  const left = page.length - offset - 4;
  const length = left < 0 ? 0 : new DataView(page.buffer, page.byteOffset + offset, 4).getUint32(0, true);
  if (left < 0 || length > left) throw damagedParquet(where, `at most ${left} bytes of levels`, `${length}`);
  return length;
}
