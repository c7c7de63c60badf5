/**
 * Rows of Parquet files, in the layout that the same rows have as JSON. Needs Node.
 *
 * The decoding is hyparquet's; what it is given has been checked before, since it trusts the numbers in a file.
 */
import type { AsyncRowGroup } from "hyparquet";
import { assembleAsync, asyncGroupToRows } from "hyparquet/src/rowgroup.js";
import { PicasoError, throwIfAborted } from "../../errors.js";
import { openRandomAccess, type RandomAccess } from "../../model/checkpoint/random-access.js";
import { decodeColumn } from "./parquet-column.js";
import { damagedParquet, decodingError, unsupportedParquet } from "./parquet-errors.js";
import { type ColumnChunk, columnName, maxGroupValues, type ParquetFooter, readFooter } from "./parquet-footer.js";

export interface ParquetOptions {
  /** Top-level columns to read; the others' bytes are left alone. @default all */
  columns?: readonly string[];
  /** Rows to read at most. @default all */
  limit?: number;
  signal?: AbortSignal;
}

export type ParquetRow = Record<string, unknown>;

/**
 * The first `limit` rows of a Parquet file. Structs are objects, lists arrays, missing values null; whole numbers are
 * numbers, or bigints where a number would not be exact; times and dates are ISO 8601 text; bytes that are not marked
 * as text are Uint8Arrays. Throws `not-found`, `bad-file`, `unsupported`, `failed` or `aborted`.
 */
export async function readParquet(path: string, options: ParquetOptions = {}): Promise<ParquetRow[]> {
  const rows: ParquetRow[] = [];
  for await (const row of parquetRows(path, options)) rows.push(row);
  return rows;
}

/** Like {@link readParquet}, row by row: no more than one row group is in memory at a time. */
export async function* parquetRows(path: string, options: ParquetOptions = {}): AsyncGenerator<ParquetRow> {
  const file = await openRandomAccess(path);
  try {
    yield* rowsOf(file, path, options);
  } finally {
    await file.close();
  }
}

/** Like {@link parquetRows}, from a file that is open; `where` names it in errors. */
export async function* rowsOf(file: RandomAccess, where: string, options: ParquetOptions): AsyncGenerator<ParquetRow> {
  const footer = await readFooter(file, where);
  const isRead = chosenColumns(footer, options.columns, where);
  let left = options.limit ?? Infinity;
  for (const [index, group] of footer.groups.entries()) {
    if (left <= 0) return;
    throwIfAborted(options.signal, where);
    const chunks = group.columns.filter(({ path }) => isRead(path[1]!.element.name));
    for (const row of await groupRows(file, footer, chunks, group.rows, `${where}, row group ${index + 1}`)) {
      if (left-- <= 0) return;
      yield row;
    }
  }
}

async function groupRows(
  file: RandomAccess,
  { schema }: ParquetFooter,
  chunks: ColumnChunk[],
  rows: number,
  where: string,
): Promise<ParquetRow[]> {
  const values = chunks.reduce((sum, chunk) => sum + chunk.values, 0);
  if (values > maxGroupValues) {
    throw unsupportedParquet(where, `row groups of at most ${maxGroupValues} values`, `${values}`);
  }
  const asyncColumns: AsyncRowGroup["asyncColumns"] = [];
  try {
    for (const chunk of chunks) {
      const at = `${where}, ${columnName(chunk.path)}`;
      const data = decodeColumn(await file.read(chunk.start, chunk.end), chunk, at);
      const found = data.reduce((sum, part) => sum + part.length, 0);
      if (found !== rows) throw damagedParquet(at, `${rows} rows`, `${found}`);
      asyncColumns.push({
        pathInSchema: chunk.metadata.path_in_schema,
        data: Promise.resolve({ skipped: 0, data }),
      });
    }
    const group = { groupStart: 0, groupRows: rows, selectStart: 0, selectEnd: rows, asyncColumns };
    const assembled = await asyncGroupToRows(assembleAsync(group, schema), 0, rows, undefined, "object");
    return assembled.map((row) => jsonLayout(row) as ParquetRow);
  } catch (cause) {
    throw decodingError(where, cause);
  }
}

function chosenColumns(
  { schema }: ParquetFooter,
  columns: readonly string[] | undefined,
  path: string,
): (name: string) => boolean {
  const names = schema.children.map(({ element }) => element.name);
  const absent = columns?.find((name) => !names.includes(name));
  if (absent !== undefined) {
    throw new PicasoError("not-found", {
      where: path,
      expected: `a column ${absent}`,
      found: `columns ${names.join(", ")}`,
      next: "Check that the file is of the data set and version that is wanted.",
    });
  }
  return columns ? (name) => columns.includes(name) : () => true;
}

function jsonLayout(value: unknown): unknown {
  if (value === undefined) return null;
  if (typeof value === "bigint") return isExact(value) ? Number(value) : value;
  if (Array.isArray(value)) return value.map(jsonLayout);
  if (typeof value !== "object" || value === null || value instanceof Uint8Array) return value;
  return Object.fromEntries(Object.entries(value).map(([name, field]) => [name, jsonLayout(field)]));
}

function isExact(value: bigint): boolean {
  return value >= Number.MIN_SAFE_INTEGER && value <= Number.MAX_SAFE_INTEGER;
}
