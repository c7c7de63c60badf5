/**
 * The catalog of a store: one LanceDB table with a row for each passage, and a full-text index of their texts. Every
 * change is one commit: readers see the table before it or after it, and a process that dies leaves it as it was.
 *
 * Several processes may write. LanceDB only notices that two of them insert the same key when the table names a primary
 * key: that is `key`, made of source and position, so that two versions of one document can never both be listed.
 */
import type { Connection, Table } from "@lancedb/lancedb";
import type { Float64 as Float64Type, Int32 as Int32Type } from "apache-arrow";
import { PicasoError } from "../errors.js";
import type { Codec } from "../state/codec.js";
import { committing, reading, shortMessage, sqlList } from "./lance.js";
import type { SearchHit, StoredPassage } from "./passage.js";

const TABLE = "passages";
const TEXT_INDEX = "text_idx";

/** Values in one condition; longer lists are asked about in parts. */
const LIST_LENGTH = 1000;

/** Columns of {@link StoredPassage}, in the table's order. */
const columns = [
  "id",
  "source",
  "file",
  "position",
  "start",
  "end",
  "text",
  "tokens",
  "stateId",
  "stateBytes",
  "codec",
  "textHash",
  "signature",
] as const satisfies readonly (keyof StoredPassage)[];

type Column = (typeof columns)[number];

/** A row to be written. */
export interface CatalogRow extends StoredPassage {
  key: string;
}

export class Catalog {
  private constructor(
    private readonly connection: Connection,
    private readonly table: Table,
    private readonly folder: string,
  ) {}

  /** Opens the catalog in `folder`, an absolute path. Throws `bad-file` when there is none that can be read. */
  static async open(folder: string): Promise<Catalog> {
    const { connect } = await import("@lancedb/lancedb");
    try {
      // Zero seconds: every read looks for what other processes have committed.
      const connection = await connect(folder, { readConsistencyInterval: 0 });
      return new Catalog(connection, await connection.openTable(TABLE), folder);
    } catch (cause) {
      throw new PicasoError("bad-file", {
        where: folder,
        expected: `a LanceDB folder with the table "${TABLE}"`,
        found: shortMessage(cause),
        next: "The store is damaged: remove its folder and index the documents again.",
        cause,
      });
    }
  }

  /** Makes the catalog, or completes one whose making was interrupted, and opens it. */
  static async create(folder: string): Promise<Catalog> {
    const [{ connect }, { Field, Float64, Int32, Schema, Utf8 }] = await Promise.all([
      import("@lancedb/lancedb"),
      import("apache-arrow"),
    ]);
    const numbers: Partial<Record<Column, Int32Type | Float64Type>> = {
      ...{ position: new Int32(), start: new Int32(), end: new Int32(), tokens: new Int32() },
      stateBytes: new Float64(),
    };
    const fields = columns.map((name) => new Field(name, numbers[name] ?? new Utf8(), false));
    const key = new Field("key", new Utf8(), false, new Map([["lance-schema:unenforced-primary-key", "true"]]));
    const schema = new Schema([key, ...fields]);
    await committing(folder, async () => {
      const connection = await connect(folder, { readConsistencyInterval: 0 });
      const table = await connection.createEmptyTable(TABLE, schema, { existOk: true });
      if (!(await hasTextIndex(table))) await createTextIndex(table);
      table.close();
      connection.close();
    });
    return Catalog.open(folder);
  }

  /** In one commit: these sources' rows go, the new ones come. Throws `conflict` after many tries. */
  async replace(sources: string[], rows: CatalogRow[]): Promise<void> {
    await committing(this.folder, () =>
      this.table
        .mergeInsert("key")
        .whenMatchedUpdateAll()
        .whenNotMatchedInsertAll()
        .whenNotMatchedBySourceDelete({ where: `source IN ${sqlList(sources)}` })
        .execute(rows as unknown as Record<string, unknown>[]),
    );
  }

  /** In one commit: these sources' rows go. Returns their number. */
  async remove(sources: string[]): Promise<number> {
    const { numDeletedRows } = await committing(this.folder, () => this.table.delete(`source IN ${sqlList(sources)}`));
    return numDeletedRows;
  }

  /** The `limit` best passages for words of `query`, best first; those with equal scores in any order. */
  async search(query: string, limit: number): Promise<SearchHit[]> {
    const { MatchQuery } = await import("@lancedb/lancedb");
    const found = this.table.query().fullTextSearch(new MatchQuery(query, "text"));
    const rows = await reading(
      this.folder,
      found
        .select([...columns, "_score"])
        .limit(limit)
        .toArray(),
    );
    return rows.map((row) => ({ passage: passageOf(row), score: row._score as number }));
  }

  /** Passages that satisfy an SQL condition, sorted by source and position. */
  async passages(
    where?: string,
    { limit, offset }: { limit?: number; offset?: number } = {},
  ): Promise<StoredPassage[]> {
    const query = this.table.query().select([...columns]);
    query.orderBy([{ columnName: "source" }, { columnName: "position" }]);
    if (where !== undefined) query.where(where);
    if (limit !== undefined) query.limit(limit);
    if (offset !== undefined) query.offset(offset);
    return (await reading(this.folder, query.toArray())).map(passageOf);
  }

  /** Some columns of all rows, in no particular order, without holding the table in memory. */
  async *scan<C extends Column>(names: C[], where?: string): AsyncGenerator<Pick<StoredPassage, C>> {
    const query = this.table.query().select(names);
    if (where !== undefined) query.where(where);
    const batches = query[Symbol.asyncIterator]();
    for (;;) {
      const { done, value: batch } = await reading(this.folder, batches.next());
      if (done) return;
      const vectors = names.map((name) => [name, batch.getChild(name)!] as const);
      for (let i = 0; i < batch.numRows; i++) {
        yield Object.fromEntries(vectors.map(([name, vector]) => [name, vector.get(i)])) as Pick<StoredPassage, C>;
      }
    }
  }

  /** Which of these states some passage refers to. */
  async referenced(stateIds: string[]): Promise<Set<string>> {
    const found = new Set<string>();
    for (let at = 0; at < stateIds.length; at += LIST_LENGTH) {
      const where = `stateId IN ${sqlList(stateIds.slice(at, at + LIST_LENGTH))}`;
      for await (const { stateId } of this.scan(["stateId"], where)) found.add(stateId);
    }
    return found;
  }

  /** The states that these sources' passages refer to. */
  async statesOf(sources: string[]): Promise<Set<string>> {
    const found = new Set<string>();
    for await (const { stateId } of this.scan(["stateId"], `source IN ${sqlList(sources)}`)) found.add(stateId);
    return found;
  }

  /**
   * Brings the index up to date and joins small files. Rows are found without it too, only more slowly; so it gives way
   * to processes that keep on writing, which do the same when they are done.
   */
  async optimize(): Promise<void> {
    try {
      await committing(this.folder, async () => {
        if (!(await hasTextIndex(this.table))) await createTextIndex(this.table);
        await this.table.optimize();
      });
    } catch (error) {
      if (!PicasoError.isInstance(error) || error.code !== "conflict") throw error;
    }
  }

  /** Deletes what only versions older than this need. Returns the bytes that it freed. */
  async removeOldVersions(before: Date): Promise<number> {
    const { prune } = await committing(this.folder, () => this.table.optimize({ cleanupOlderThan: before }));
    return prune.bytesRemoved;
  }

  close(): void {
    this.table.close();
    this.connection.close();
  }
}

async function hasTextIndex(table: Table): Promise<boolean> {
  return (await table.listIndices()).some(({ name }) => name === TEXT_INDEX);
}

/** Makes the full-text index of a table's column `text`: English stems and stop words, case and accents ignored. */
export async function createTextIndex(table: Table): Promise<void> {
  const { Index } = await import("@lancedb/lancedb");
  const config = Index.fts({
    ...{ baseTokenizer: "simple", language: "English", withPosition: false },
    ...{ lowercase: true, stem: true, removeStopWords: true, asciiFolding: true },
  });
  await table.createIndex("text", { config, name: TEXT_INDEX });
}

function passageOf(row: Record<Column, unknown>): StoredPassage {
  const { id, source, file, position, start, end, text, tokens } = row as unknown as StoredPassage;
  const { stateId, stateBytes, textHash, signature } = row as unknown as StoredPassage;
  const codec = row.codec as Codec;
  return { id, source, file, position, start, end, text, tokens, stateId, stateBytes, codec, textHash, signature };
}
