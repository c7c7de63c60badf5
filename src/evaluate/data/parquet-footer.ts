/** What a Parquet file says of itself at its end, checked against the file: columns, row groups, and where they are. */
import { type ColumnMetaData, type FileMetaData, parquetMetadata, parquetSchema, type SchemaTree } from "hyparquet";
import type { RandomAccess } from "../../model/checkpoint/random-access.js";
import { damagedParquet, decoding, unsupportedParquet } from "./parquet-errors.js";
import { structEnd } from "./parquet-thrift.js";

/** One column in one row group. Nested columns have several of them under one name. */
export interface ColumnChunk {
  metadata: ColumnMetaData;
  /** From the root to the leaf. */
  path: SchemaTree[];
  /** Bytes of the file [start, end). */
  start: number;
  end: number;
  /** Values and nulls. */
  values: number;
}

export interface RowGroup {
  rows: number;
  columns: ColumnChunk[];
}

export interface ParquetFooter {
  schema: SchemaTree;
  groups: RowGroup[];
}

/** More than that, in one row group and over the columns read, would not fit the memory. */
export const maxGroupValues = 1 << 26;

const unreadTypes = ["BSON", "INTERVAL", "VARIANT", "GEOMETRY", "GEOGRAPHY"];
const magicLength = 4;

/** Throws `bad-file` or `unsupported`. */
export async function readFooter(file: RandomAccess, where: string): Promise<ParquetFooter> {
  const size = file.byteLength;
  const tailStart = size - 2 * magicLength;
  if (tailStart < magicLength) throw damagedParquet(where, "a Parquet file", `${size} bytes`);
  const head = Buffer.from(await file.read(0, magicLength)).toString("latin1");
  const tail = Buffer.from(await file.read(tailStart, size));
  const magic = tail.toString("latin1", magicLength);
  if (magic === "PARE") throw unsupportedParquet(where, "a Parquet file", "an encrypted one");
  if (head !== "PAR1" || magic !== "PAR1")
    throw damagedParquet(where, "PAR1 at both ends of the file", "something else");
  const length = tail.readUInt32LE(0);
  if (length > tailStart - magicLength)
    throw damagedParquet(where, "a footer within the file", `${length} bytes of it`);
  const footer = await file.read(tailStart - length, size);
  structEnd(footer.subarray(0, length), 0, `${where}, footer`);
  return decoding(`${where}, footer`, () =>
    checkedFooter(parquetMetadata(footer, { geoparquet: false }), tailStart, where),
  );
}

function checkedFooter(metadata: FileMetaData, dataEnd: number, where: string): ParquetFooter {
  const schema = parquetSchema(metadata);
  if (schema.count !== metadata.schema.length) {
    throw damagedParquet(where, `${metadata.schema.length} elements in the schema`, `${schema.count} in its tree`);
  }
  const leaves = leafPaths([schema], where);
  const names = schema.children.map(({ element }) => element.name);
  if (new Set(names).size !== names.length)
    throw damagedParquet(where, "columns of different names", "two of one name");
  const groups = metadata.row_groups.map((group, index) => {
    const at = `${where}, row group ${index + 1}`;
    const rows = wholeNumber(group.num_rows, `${at}, rows`);
    if (group.columns.length !== leaves.length) {
      throw damagedParquet(at, `${leaves.length} columns`, `${group.columns.length}`);
    }
    const columns = group.columns.map((column, i) => {
      const path = leaves[i]!;
      const name = columnName(path);
      if (column.file_path || column.crypto_metadata || !column.meta_data) {
        throw unsupportedParquet(`${at}, ${name}`, "a column in this file, not encrypted", "another");
      }
      return checkedChunk(column.meta_data, path, rows, dataEnd, `${at}, ${name}`);
    });
    return { rows, columns };
  });
  const total = groups.reduce((sum, { rows }) => sum + rows, 0);
  if (BigInt(total) !== metadata.num_rows) {
    throw damagedParquet(where, `${metadata.num_rows} rows`, `${total} in its row groups`);
  }
  return { schema, groups };
}

/** Such as `passages.url.list.element`. */
export function columnName(path: SchemaTree[]): string {
  return path.at(-1)!.path.join(".");
}

function checkedChunk(
  metadata: ColumnMetaData,
  path: SchemaTree[],
  rows: number,
  dataEnd: number,
  where: string,
): ColumnChunk {
  const { data_page_offset, dictionary_page_offset, total_compressed_size } = metadata;
  const { type, repetition_type } = path.at(-1)!.element;
  if (metadata.path_in_schema.join(".") !== columnName(path) || metadata.type !== type) {
    throw damagedParquet(where, "the columns in the schema's order", "others");
  }
  if (!metadata.codec) throw unsupportedParquet(where, "a known compression", "another");
  const start = wholeNumber(dictionary_page_offset || data_page_offset, `${where}, offset`);
  const end = start + wholeNumber(total_compressed_size, `${where}, size`);
  if (start < magicLength || end > dataEnd) {
    throw damagedParquet(where, `bytes within ${magicLength} to ${dataEnd} of the file`, `${start} to ${end}`);
  }
  const values = wholeNumber(metadata.num_values, `${where}, values`);
  const isRepeated =
    repetition_type === "REPEATED" || path.some(({ element }) => element.repetition_type === "REPEATED");
  if (isRepeated ? values < rows : values !== rows) {
    throw damagedParquet(where, `${isRepeated ? "at least " : ""}${rows} values, as many as rows`, `${values}`);
  }
  if (values > maxGroupValues) {
    throw unsupportedParquet(where, `row groups of at most ${maxGroupValues} values in a column`, `${values}`);
  }
  return { metadata, path, start, end, values };
}

function leafPaths(path: SchemaTree[], where: string): SchemaTree[][] {
  const { children, element } = path.at(-1)!;
  if (element.name === "__proto__") throw unsupportedParquet(where, "another name of a column", element.name);
  const kind = element.logical_type?.type ?? element.converted_type;
  if (kind && unreadTypes.includes(kind)) throw unsupportedParquet(where, "columns of plain types", `one of ${kind}`);
  if (path.length > 1 && children.length === 0) {
    if (element.type && element.repetition_type) return [path];
    throw damagedParquet(where, `a type of column ${element.name}`, "none that is known");
  }
  return children.flatMap((child) => leafPaths([...path, child], where));
}

function wholeNumber(value: unknown, where: string): number {
  const number = Number(value);
  if (typeof value === "bigint" && Number.isSafeInteger(number) && number >= 0) return number;
  throw damagedParquet(where, "a whole number", String(value));
}
