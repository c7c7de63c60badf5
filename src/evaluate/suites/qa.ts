/**
 * Extractive question answering on a file in SQuAD's format. Contexts are retrieved among all paragraphs of the file, or
 * chosen around the paragraph that holds the answer.
 */
import type { LanguageModel } from "../../model/language-model.js";
import type { SquadParagraph, SquadQuestion } from "../data/squad.js";
import type { EvaluationQuery } from "../query.js";
import { Random } from "../random.js";
import {
  bm25Ranker,
  type Embedding,
  embedderRanker,
  type PoolContext,
  type Ranker,
  randomRanker,
} from "../retrieval.js";
import { passageContext, questionQuery } from "./question.js";
import { chooseQueries } from "./wikitext.js";

/**
 * Where contexts come from: `bm25` and an embedder retrieve among all paragraphs; `oracle` puts the answer's paragraph
 * first and what BM25 finds behind it; `article` hides it at a random place among others of its article, as many as
 * there are; `random` draws any.
 */
export type QaRetrieval = "bm25" | "oracle" | "article" | "random" | Embedding;

export interface QaOptions {
  retrieval: QaRetrieval;
  /** Most contexts of a question; for `article` the number among which the right one is hidden. */
  contexts: number;
  /** Questions drawn at random; all of them by default. */
  queries?: number;
  seed?: number;
}

export async function qaQueries(
  model: LanguageModel,
  paragraphs: readonly SquadParagraph[],
  { retrieval, contexts, queries, seed = 0 }: QaOptions,
): Promise<EvaluationQuery[]> {
  const pool: PoolContext[] = paragraphs.map(({ context }, index) => ({
    ...passageContext(model, `p${index}`, context),
    text: context,
  }));
  const asked = paragraphs.flatMap(({ questions }, index) => questions.map((question) => ({ question, index })));
  const rank = await contextChooser(paragraphs, pool, retrieval, contexts, seed);
  const chosen: EvaluationQuery[] = [];
  for (const number of chooseQueries(asked.length, queries, seed)) {
    const { question, index } = asked[number]!;
    chosen.push(
      questionQuery(model, {
        id: question.id,
        question: question.question,
        answers: [...new Set(question.answers.map(({ text }) => text))],
        contexts: (await rank(question, index, number)).map(({ id, tokens }) => ({ id, tokens })),
        relevant: [`p${index}`],
      }),
    );
  }
  return chosen;
}

type Chooser = (question: SquadQuestion, gold: number, number: number) => Promise<PoolContext[]>;

async function contextChooser(
  paragraphs: readonly SquadParagraph[],
  pool: readonly PoolContext[],
  retrieval: QaRetrieval,
  most: number,
  seed: number,
): Promise<Chooser> {
  if (retrieval === "article") {
    return async (_, gold, number) => hideAmongArticle(paragraphs, pool, gold, most, Random.of(seed, number));
  }
  const ranker = await makeRanker(pool, retrieval, seed);
  const find = ({ question: text }: SquadQuestion, number: number) => ranker.rank({ text, number }, most);
  if (retrieval !== "oracle") return (question, _, number) => find(question, number);
  return async (question, gold, number) => {
    const others = (await find(question, number)).filter((context) => context !== pool[gold]);
    return [pool[gold]!, ...others].slice(0, most);
  };
}

async function makeRanker(pool: readonly PoolContext[], retrieval: QaRetrieval, seed: number): Promise<Ranker> {
  if (retrieval === "random") return randomRanker(pool, seed);
  return typeof retrieval === "object" ? embedderRanker(pool, retrieval) : bm25Ranker(pool);
}

function hideAmongArticle(
  paragraphs: readonly SquadParagraph[],
  pool: readonly PoolContext[],
  gold: number,
  most: number,
  random: Random,
): PoolContext[] {
  const { title } = paragraphs[gold]!;
  const others = paragraphs.flatMap((paragraph, i) => (paragraph.title === title && i !== gold ? [i] : []));
  const drawn = random.sample(others.length, Math.min(most - 1, others.length)).map((i) => others[i]!);
  return random.shuffle([gold, ...drawn]).map((i) => pool[i]!);
}
