/**
 * Makers of training examples from data sets (PICASO, ICLR 2025, section on fine-tuning): continuation of passages given
 * others of their article or book, and answers to questions given passages of which one holds the answer.
 */
import { setImmediate } from "node:timers/promises";
import { PicasoError, throwIfAborted } from "../errors.js";
import type { MsMarcoRow } from "../evaluate/data/msmarco.js";
import type { NqRow } from "../evaluate/data/nq.js";
import type { SquadParagraph } from "../evaluate/data/squad.js";
import type { WikiArticle } from "../evaluate/data/wikitext.js";
import { type FragmentForm, passageForm } from "../evaluate/data/wikitext-form.js";
import type { Random } from "../evaluate/random.js";
import { contextTokens, type FormedModel, questionTokens } from "../model/form.js";
import { splitPassages } from "../retrieve/passages.js";
import type { ExampleSource, TrainingExample } from "./example.js";

/** How many contexts examples get: drawn for each batch, all numbers from `min` to `max` equally likely. */
export interface ContextRange {
  min: number;
  max: number;
}

export interface LongText {
  title: string;
  text: string;
}

/** Articles of a WikiText file without their headings. */
export function wikiTexts(articles: readonly WikiArticle[]): LongText[] {
  return articles.map(({ title, paragraphs }) => ({ title, text: paragraphs.map(({ text }) => text).join("\n\n") }));
}

export interface ContinuationOptions {
  /** Most tokens of a passage. @default 128 */
  passageTokens?: number;
  /** @default 0 to 10, as in the paper */
  contexts?: ContextRange;
  /** How passages are written. @default as passages for questions are */
  form?: FragmentForm;
  /** Texts cut into passages so far. */
  onProgress?: (progress: { done: number; total: number }) => void;
  signal?: AbortSignal;
}

/**
 * Passages whose first half is the query and whose second half the target; contexts are other passages of the same
 * text, drawn at random, fewer where it has no more. Passages under a quarter of the length are left out.
 */
export async function continuationExamples(
  model: FormedModel,
  texts: readonly LongText[],
  options: ContinuationOptions = {},
): Promise<ExampleSource> {
  const {
    passageTokens = 128,
    contexts = { min: 0, max: 10 },
    form = passageForm(model),
    onProgress,
    signal,
  } = options;
  checkRange(contexts);
  const { tokenizer } = model;
  const passages: { tokens: number[]; others: number[] }[] = [];
  for (const [done, { text }] of texts.entries()) {
    onProgress?.({ done, total: texts.length });
    // Lets a signal through: cutting alone would keep the process busy for minutes.
    await setImmediate();
    throwIfAborted(signal, "reading training data");
    const first = passages.length;
    const cut = splitPassages(text, { maxTokens: passageTokens, overlap: 0, tokenizer });
    const tokens = cut.map((passage) => form.encode(passage.text));
    const kept = tokens.filter(({ length }) => length >= passageTokens / 4);
    const own = kept.map((_, i) => first + i);
    passages.push(...kept.map((passage) => ({ tokens: passage, others: own })));
  }
  if (passages.length === 0) throw noExamples(`a passage of ${passageTokens / 4} tokens or more`);
  return {
    size: passages.length,
    async batch(places, random) {
      const count = drawCount(contexts, random);
      return places.map((place) => {
        const { tokens, others } = passages[place]!;
        const chosen = drawOthers(others, place, count, random);
        const half = Math.floor(tokens.length / 2);
        return {
          contexts: chosen.map((other) => [...form.beginning, ...passages[other]!.tokens, ...form.end]),
          query: [...(chosen.length === 0 ? form.beginning : []), ...tokens.slice(0, half)],
          target: tokens.slice(half),
        };
      });
    },
  };
}

/** A question whose answer stands in one passage of a pool. */
export interface PooledQuestion {
  question: string;
  answer: string;
  /** Place of the right passage in the pool. */
  gold: number;
}

export interface QuestionOptions {
  /** @default 1 to 10 */
  contexts?: ContextRange;
  /** Whether the target includes the text at which answers stop, so that the model learns to end. @default true */
  endAnswer?: boolean;
}

/**
 * Questions with the right passage at a random place among others. `distractors` gives the places in the pool that the
 * others are taken from for a question, as they are wanted: the first `count` that are not the right one.
 */
export function questionExamples(
  model: FormedModel,
  pool: readonly string[],
  questions: readonly PooledQuestion[],
  distractors: (question: PooledQuestion, count: number, random: Random) => Promise<number[]>,
  { contexts = { min: 1, max: 10 }, endAnswer = true }: QuestionOptions = {},
): ExampleSource {
  checkRange(contexts);
  if (questions.length === 0) throw noExamples("a question with an answer");
  return {
    size: questions.length,
    async batch(places, random) {
      const count = drawCount(contexts, random);
      const examples: TrainingExample[] = [];
      for (const place of places) {
        const asked = questions[place]!;
        const found = count > 1 ? await distractors(asked, count - 1, random) : [];
        const others = found.filter((other) => other !== asked.gold).slice(0, count - 1);
        const chosen = count === 0 ? [] : random.shuffle([asked.gold, ...others]);
        const passages = chosen.map((index) => pool[index]!);
        examples.push(questionExample(model, asked.question, asked.answer, passages, endAnswer));
      }
      return examples;
    },
  };
}

/** Distractors drawn among the other passages of the right one's article. `articles` names each passage's article. */
export function sameArticle(articles: readonly string[]) {
  const members = new Map<string, number[]>();
  for (const [place, article] of articles.entries()) {
    const list = members.get(article);
    if (list) list.push(place);
    else members.set(article, [place]);
  }
  return async ({ gold }: PooledQuestion, count: number, random: Random): Promise<number[]> =>
    drawOthers(members.get(articles[gold]!)!, gold, count, random);
}

/** Distractors by search: those that `search` finds for the question, best first. */
export function retrieved(search: (text: string, limit: number) => Promise<{ index: number }[]>) {
  return async ({ question }: PooledQuestion, count: number): Promise<number[]> =>
    (await search(question, count + 1)).map(({ index }) => index);
}

/** SQuAD as a pool of paragraphs, their articles, and questions with their first answer. */
export function squadQuestions(paragraphs: readonly SquadParagraph[]) {
  return {
    pool: paragraphs.map(({ context }) => context),
    articles: paragraphs.map(({ title }) => title),
    questions: paragraphs.flatMap(({ questions }, gold): PooledQuestion[] =>
      questions.map(({ question, answers }) => ({ question, answer: answers[0]!.text, gold })),
    ),
  };
}

/** NQ-open with gold passages, as a pool of those and questions with their first answer. */
export function nqQuestions(rows: readonly NqRow[]) {
  return {
    pool: rows.map(({ gold }) => (gold.title === "" ? gold.text : `${gold.title}\n${gold.text}`)),
    questions: rows.map(({ question, answers }, gold): PooledQuestion => ({ question, answer: answers[0]!, gold })),
  };
}

/** MS MARCO: all passages of a row, in its order, and its first answer. Rows without an answer are left out. */
export function msMarcoExamples(
  model: FormedModel,
  rows: readonly MsMarcoRow[],
  { endAnswer = true }: Pick<QuestionOptions, "endAnswer"> = {},
): ExampleSource {
  const answered = rows.filter(({ answers }) => answers.length > 0);
  if (answered.length === 0) throw noExamples("a row with an answer");
  return {
    size: answered.length,
    batch: async (places) =>
      places.map((place) => {
        const { query, answers, passages } = answered[place]!;
        const texts = passages.map(({ text }) => text);
        return questionExample(model, query, answers[0]!, texts, endAnswer);
      }),
  };
}

/** A question in the model's form and its answer, given passages. */
export function questionExample(
  model: FormedModel,
  question: string,
  answer: string,
  passages: readonly string[],
  endAnswer: boolean,
): TrainingExample {
  // By itself: joined with the answer's text, the tokenizer could merge the two.
  const end = endAnswer ? model.tokenizer.encode(model.form.stop[0] ?? "") : [];
  return {
    contexts: passages.map((text) => contextTokens(model, text)),
    query: questionTokens(model, question, { first: passages.length === 0 }),
    target: [...model.tokenizer.encode(` ${answer}`), ...end],
  };
}

function drawCount({ min, max }: ContextRange, random: Random): number {
  return min + random.below(max - min + 1);
}

/** `count` of `places` in random order without `own`, or all of them. */
function drawOthers(places: readonly number[], own: number, count: number, random: Random): number[] {
  const others = places.filter((place) => place !== own);
  return random.sample(others.length, Math.min(count, others.length)).map((i) => others[i]!);
}

function checkRange({ min, max }: ContextRange): void {
  if (Number.isInteger(min) && Number.isInteger(max) && min >= 0 && max >= min) return;
  throw new PicasoError("bad-argument", {
    where: "training data, contexts",
    expected: "two whole numbers, 0 or more, the smaller first",
    found: `${min} to ${max}`,
    next: "Pass such a range, for example 0 to 10.",
  });
}

export function noExamples(expected: string): PicasoError {
  return new PicasoError("bad-argument", {
    where: "training data",
    expected,
    found: "none",
    next: "Pass more or longer texts.",
  });
}
