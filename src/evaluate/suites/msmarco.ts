/**
 * Answers on MS MARCO (PICASO, section 5.1): all passages of a row are contexts, the query is put in the model's question
 * form, and the loss is that of the first answer. Rows without an answer are left out.
 */
import type { LanguageModel } from "../../model/language-model.js";
import type { MsMarcoRow } from "../data/msmarco.js";
import type { EvaluationQuery } from "../query.js";
import { bm25Ranker, type PoolContext } from "../retrieval.js";
import { passageContext, questionQuery } from "./question.js";

export interface MsMarcoOptions {
  /** Order of a row's passages: as the data set lists them, or by BM25. @default "given" */
  ranking?: "given" | "bm25";
}

export async function msMarcoQueries(
  model: LanguageModel,
  rows: readonly MsMarcoRow[],
  { ranking = "given" }: MsMarcoOptions = {},
): Promise<EvaluationQuery[]> {
  const answered = rows.filter(({ answers }) => answers.some((answer) => answer.trim() !== ""));
  return Promise.all(
    answered.map(async (row) => {
      const passages = row.passages.map(({ text }, i) => ({
        ...passageContext(model, `${row.id}/${i}`, text),
        text,
      }));
      const ranked = ranking === "given" ? passages : await rankAll(passages, row.query);
      return questionQuery(model, {
        id: row.id,
        question: row.query,
        answers: row.answers.filter((answer) => answer.trim() !== ""),
        contexts: ranked.map(({ id, tokens }) => ({ id, tokens })),
        relevant: row.passages.flatMap(({ selected }, i) => (selected ? [`${row.id}/${i}`] : [])),
      });
    }),
  );
}

/** By BM25; passages that share no word with the query follow in the order given. */
async function rankAll(passages: readonly PoolContext[], query: string): Promise<PoolContext[]> {
  const ranker = await bm25Ranker(passages);
  const found = await ranker.rank({ text: query, number: 0 }, passages.length);
  return [...found, ...passages.filter((passage) => !found.includes(passage))];
}
