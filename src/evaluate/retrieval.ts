/** Which contexts a query gets from a pool, and in what order: by BM25, by embeddings or at random. */
import { DenseIndex } from "../retrieve/dense-index.js";
import type { Embedder } from "../retrieve/embedder.js";
import { type RankedText, TextIndex } from "../retrieve/text-index.js";
import type { EvaluationContext, EvaluationQuery } from "./query.js";
import { Random } from "./random.js";

/** A stretch of characters of an article. */
export interface Place {
  article: string;
  start: number;
  end: number;
}

export interface PoolContext extends EvaluationContext {
  text: string;
  /** Where it was cut from; absent where contexts and queries cannot overlap. */
  place?: Place;
}

export interface RankRequest {
  text: string;
  /** Contexts that overlap this are left out. */
  place?: Place;
  /** Number of the query, for drawing. */
  number: number;
  /** The query without its contexts, for rankers that look at it as a whole. */
  query?: EvaluationQuery;
}

export interface Ranker {
  /** The best contexts for a query, best first. */
  rank(request: RankRequest, most: number): Promise<PoolContext[]>;
}

/** By BM25 of the query's text; contexts that share no word with it do not come. */
export async function bm25Ranker(pool: readonly PoolContext[]): Promise<Ranker> {
  const index = await TextIndex.build(pool.map(({ text }) => text));
  return {
    rank: ({ text, place }, most) => bestElsewhere(pool, place, most, (limit) => index.search(text, limit)),
  };
}

export interface Embedding {
  embedder: Embedder;
  /** Called while the pool is embedded; counts its texts. */
  onProgress?: (progress: { done: number; total: number }) => void;
  signal?: AbortSignal;
}

/** By the cosine similarity of embeddings: those of the pool as documents, that of the query's text as a query. */
export async function embedderRanker(pool: readonly PoolContext[], embedding: Embedding): Promise<Ranker> {
  const { embedder, onProgress, signal } = embedding;
  const texts = pool.map(({ text }) => text);
  const index = new DenseIndex(await embedder.embed(texts, { kind: "document", onProgress, signal }));
  return {
    async rank({ text, place }, most) {
      const [query] = await embedder.embed([text], { kind: "query", signal });
      return bestElsewhere(pool, place, most, (limit) => index.search(query!, limit));
    },
  };
}

/** The first `most` that `search` finds outside a place. */
async function bestElsewhere(
  pool: readonly PoolContext[],
  place: Place | undefined,
  most: number,
  search: (limit: number) => RankedText[] | Promise<RankedText[]>,
): Promise<PoolContext[]> {
  // What overlaps the query's own place may take ranks: more are asked for until enough are left.
  for (let wanted = most + 4; ; wanted *= 2) {
    const found = await search(wanted);
    const contexts = found.map((hit) => pool[hit.index]!).filter((context) => !overlaps(context.place, place));
    if (contexts.length >= most || found.length < wanted) return contexts.slice(0, most);
  }
}

/** At random, repeatable by seed. */
export function randomRanker(pool: readonly PoolContext[], seed: number): Ranker {
  return {
    async rank({ place, number }, most) {
      const others = pool.filter((context) => !overlaps(context.place, place));
      const drawn = Random.of(seed, number).sample(others.length, Math.min(most, others.length));
      return drawn.map((index) => others[index]!);
    },
  };
}

function overlaps(a: Place | undefined, b: Place | undefined): boolean {
  return a !== undefined && b !== undefined && a.article === b.article && a.start < b.end && b.start < a.end;
}
