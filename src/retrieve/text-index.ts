/** Full-text search (BM25) over texts in memory: the catalog's search without a catalog, for evaluations. */
import type { Table } from "@lancedb/lancedb";
import { createTextIndex } from "../store/catalog.js";

export interface RankedText {
  /** Place in the list that the index was built of. */
  index: number;
  score: number;
}

export class TextIndex {
  private constructor(private readonly table: Table) {}

  static async build(texts: readonly string[]): Promise<TextIndex> {
    const { connect } = await import("@lancedb/lancedb");
    const connection = await connect("memory://");
    const table = await connection.createTable(
      "texts",
      texts.map((text, index) => ({ index, text })),
    );
    await createTextIndex(table);
    return new TextIndex(table);
  }

  /** The `limit` best texts for the words of `query`, best first; equal scores in the list's order. */
  async search(query: string, limit: number): Promise<RankedText[]> {
    const { MatchQuery } = await import("@lancedb/lancedb");
    const rows = await this.table
      .query()
      .fullTextSearch(new MatchQuery(query, "text"))
      .select(["index", "_score"])
      .limit(limit)
      .toArray();
    return rows
      .map((row) => ({ index: Number(row.index), score: Number(row._score) }))
      .sort((a, b) => b.score - a.score || a.index - b.index);
  }
}
