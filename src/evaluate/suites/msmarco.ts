/**
 * Answers on MS MARCO (PICASO, section 5.1): all passages of a row are contexts, the query is put in the model's question
 * form, and the loss is that of the first answer. Rows without an answer are left out.
 */
import type { LanguageModel } from "../../model/language-model.js";
import type { MsMarcoRow } from "../data/msmarco.js";
import type { EvaluationQuery } from "../query.js";
import { bm25Ranker, type Embedding, embedderRanker, type PoolContext } from "../retrieval.js";
import { passageContext, questionQuery } from "./question.js";

export interface MsMarcoOptions {
  /** Order of a row's passages: as the data set lists them, by BM25 or by an embedder. @default "given" */
  ranking?: "given" | "bm25" | Embedding;
  /** Most queries, the first of the file; all of them by default. */
  queries?: number;
}

export async function msMarcoQueries(
  model: LanguageModel,
  rows: readonly MsMarcoRow[],
  { ranking = "given", queries }: MsMarcoOptions = {},
): Promise<EvaluationQuery[]> {
  const answered = rows.filter(({ answers }) => answers.some((answer) => answer.trim() !== "")).slice(0, queries);
  const total = answered.reduce((sum, { passages }) => sum + passages.length, 0);
  const asked: EvaluationQuery[] = [];
  let done = 0;
  for (const row of answered) {
    const passages = row.passages.map(({ text }, i) => ({
      ...passageContext(model, `${row.id}/${i}`, text),
      text,
    }));
    const ranked = ranking === "given" ? passages : await rankAll(passages, row.query, ranking);
    done += passages.length;
    if (typeof ranking === "object") ranking.onProgress?.({ done, total });
    asked.push(
      questionQuery(model, {
        id: row.id,
        question: row.query,
        answers: row.answers.filter((answer) => answer.trim() !== ""),
        contexts: ranked.map(({ id, tokens }) => ({ id, tokens })),
        relevant: row.passages.flatMap(({ selected }, i) => (selected ? [`${row.id}/${i}`] : [])),
      }),
    );
  }
  return asked;
}

/** Passages that are not found, as those that share no word with the query by BM25, follow in the order given. */
async function rankAll(
  passages: readonly PoolContext[],
  query: string,
  ranking: "bm25" | Embedding,
): Promise<PoolContext[]> {
  const ranker =
    ranking === "bm25"
      ? await bm25Ranker(passages)
      : await embedderRanker(passages, { ...ranking, onProgress: undefined });
  const found = await ranker.rank({ text: query, number: 0 }, passages.length);
  return [...found, ...passages.filter((passage) => !found.includes(passage))];
}
