/**
 * Continuation on WikiText (PICASO, section 5.1). Articles are cut into passages on sentence borders; each passage of
 * the evaluated file is cut into two equal halves of tokens: the first is the query, the second the target. The
 * database holds both halves of every passage, and a query never gets what overlaps its own passage.
 */
import type { LanguageModel } from "../../model/language-model.js";
import { type Passage, splitPassages } from "../../retrieve/passages.js";
import { readWikiText } from "../data/wikitext.js";
import { type FragmentForm, fragmentForm, type WikiTextForm } from "../data/wikitext-form.js";
import { countWords } from "../metrics/log-perplexity.js";
import { oracleRanker } from "../oracle.js";
import type { EvaluationQuery } from "../query.js";
import { Random } from "../random.js";
import {
  bm25Ranker,
  type Embedding,
  embedderRanker,
  type Place,
  type PoolContext,
  type Ranker,
  randomRanker,
} from "../retrieval.js";

export interface WikiTextOptions {
  /** File whose passages are queries. */
  path: string;
  /** More files whose passages join the database. @default none */
  pool?: readonly string[];
  /** Most tokens of a passage, both halves together. @default 128 */
  passageTokens?: number;
  /** The same for the passages whose halves are contexts. @default passageTokens */
  contextTokens?: number;
  /** How fragments are written. @default "file" */
  form?: WikiTextForm;
  /** What ranks the contexts; an embedder ranks by itself. @default "bm25" */
  retrieval?: "bm25" | "random" | "oracle" | Embedding;
  /** Queries drawn at random; all of them by default. */
  queries?: number;
  /** Most contexts of a query. */
  contexts: number;
  seed?: number;
  /** Counts the queries whose contexts are ranked; with `oracle` that takes longer than measuring them. */
  onProgress?: (progress: { done: number; total: number }) => void;
  signal?: AbortSignal;
}

interface Article {
  id: string;
  text: string;
}

interface Halves {
  place: Place;
  ids: [first: number[], second: number[]];
}

export async function wikiTextQueries(model: LanguageModel, options: WikiTextOptions): Promise<EvaluationQuery[]> {
  const { passageTokens = 128, contextTokens = passageTokens, contexts, seed = 0 } = options;
  const form = fragmentForm(model, options.form);
  const evaluated = await readArticles("eval", options.path);
  const others = await Promise.all((options.pool ?? []).map((path, i) => readArticles(`pool${i}`, path)));
  const passages = evaluated.flatMap((article) => cutArticle(model, form, article, passageTokens));
  const pool = [evaluated, ...others].flat().flatMap((article) => {
    const cut = cutArticle(model, form, article, contextTokens);
    return cut.flatMap((halves) => poolContexts(model, form, halves));
  });
  const ranker = await makeRanker(model, pool, options);
  const queries: EvaluationQuery[] = [];
  const numbers = chooseQueries(passages.length, options.queries, seed);
  for (const number of numbers) {
    const { place, ids } = passages[number]!;
    const [prompt, target] = ids;
    const id = `${place.article}/${place.start}`;
    const query = { id, prompt, target, words: countWords(model.tokenizer.decode(target)), contexts: [] };
    const text = model.tokenizer.decode(prompt).trim();
    queries.push({ ...query, contexts: await ranker.rank({ text, place, number, query }, contexts) });
    options.onProgress?.({ done: queries.length, total: numbers.length });
  }
  return queries;
}

/** Numbers of the queries to run, in the file's order. */
export function chooseQueries(available: number, wanted = available, seed = 0): number[] {
  return Random.of(seed)
    .sample(available, Math.min(wanted, available))
    .sort((a, b) => a - b);
}

async function readArticles(file: string, path: string): Promise<Article[]> {
  const articles = await readWikiText(path);
  return articles.map(({ paragraphs }, number) => ({
    id: `${file}/${number}`,
    text: paragraphs.map(({ text }) => text).join("\n\n"),
  }));
}

/** Passages of an article; those under a quarter of the length wanted are left out. */
function cutArticle(
  { tokenizer }: LanguageModel,
  form: FragmentForm,
  { id, text }: Article,
  maxTokens: number,
): Halves[] {
  const isLong = ({ tokens }: Passage) => tokens >= maxTokens / 4;
  return splitPassages(text, { maxTokens, overlap: 0, tokenizer })
    .filter(isLong)
    .map((passage) => {
      const ids = form.encode(passage.text);
      const half = Math.floor(ids.length / 2);
      const place = { article: id, start: passage.start, end: passage.end };
      return { place, ids: [ids.slice(0, half), ids.slice(half)] };
    });
}

function poolContexts({ tokenizer }: LanguageModel, { end }: FragmentForm, { place, ids }: Halves): PoolContext[] {
  return ids.map((half, number) => ({
    id: `${place.article}/${place.start}-${place.end}/${number}`,
    place,
    text: tokenizer.decode(half).trim(),
    tokens: [...half, ...end],
  }));
}

async function makeRanker(
  model: LanguageModel,
  pool: readonly PoolContext[],
  { retrieval = "bm25", form, seed = 0, signal }: WikiTextOptions,
): Promise<Ranker> {
  if (retrieval === "random") return randomRanker(pool, seed);
  if (typeof retrieval === "object") return embedderRanker(pool, retrieval);
  const bm25 = await bm25Ranker(pool);
  return retrieval === "bm25"
    ? bm25
    : oracleRanker(model, bm25, { beginning: fragmentForm(model, form).beginning, signal });
}
