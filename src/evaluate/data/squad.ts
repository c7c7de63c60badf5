/**
 * Reader for SQuAD v1.1 (Rajpurkar et al., "SQuAD: 100,000+ Questions for Machine Comprehension of Text", 2016):
 * paragraphs of Wikipedia articles with questions whose answers stand in the paragraph.
 */
import { badField, kindOf, listField, objectField, stringField, textField } from "./fields.js";
import { readJson } from "./files.js";

export interface SquadParagraph {
  /** The article's title, with its underscores. */
  title: string;
  context: string;
  questions: SquadQuestion[];
}

export interface SquadQuestion {
  /** The data set's id; where a file has none, the place `title/paragraph/question`, counted from 0. */
  id: string;
  question: string;
  /** At least one; the same answer may occur several times, once an annotator. */
  answers: SquadAnswer[];
}

export interface SquadAnswer {
  text: string;
  /** Where it begins in the context: an index into the JavaScript string. (The file counts code points.) */
  start: number;
}

export async function readSquad(path: string): Promise<SquadParagraph[]> {
  return parseSquad(await readJson(path), path);
}

/**
 * The paragraphs of a file's JSON value in order.
 *
 * @param where names the file in errors
 * @throws `bad-file`, naming file, paragraph, question and field, where something is missing, an answer does not stand
 *   where the file says, or a question has no answer (as in v2.0)
 */
export function parseSquad(json: unknown, where: string): SquadParagraph[] {
  const paragraphs: SquadParagraph[] = [];
  const file = objectField(json, where, "file");
  for (const [a, item] of listField(file.data, where, "data").entries()) {
    const article = objectField(item, where, `data[${a}]`);
    const title = textField(article.title, where, `data[${a}].title`);
    for (const [p, paragraph] of listField(article.paragraphs, where, `data[${a}].paragraphs`).entries()) {
      paragraphs.push(parseParagraph(paragraph, title, p, `${where}, data[${a}].paragraphs[${p}]`));
    }
  }
  return paragraphs;
}

function parseParagraph(value: unknown, title: string, index: number, where: string): SquadParagraph {
  const paragraph = objectField(value, where, "paragraph");
  const context = textField(paragraph.context, where, "context");
  const offset = codePointOffsets(context);
  const questions = listField(paragraph.qas, where, "qas").map((item, q): SquadQuestion => {
    const field = `qas[${q}]`;
    const question = objectField(item, where, field);
    const answers = listField(question.answers, where, `${field}.answers`);
    if (answers.length === 0) throw badField(where, `${field}.answers`, "an answer, as all of v1.1 have", "none");
    return {
      id: question.id === undefined ? `${title}/${index}/${q}` : stringField(question.id, where, `${field}.id`),
      question: textField(question.question, where, `${field}.question`),
      answers: answers.map((answer, i) => parseAnswer(answer, context, offset, where, `${field}.answers[${i}]`)),
    };
  });
  return { title, context, questions };
}

function parseAnswer(
  value: unknown,
  context: string,
  offset: (codePoints: number) => number,
  where: string,
  field: string,
): SquadAnswer {
  const answer = objectField(value, where, field);
  const text = textField(answer.text, where, `${field}.text`);
  const codePoints = answer.answer_start;
  if (typeof codePoints !== "number" || !Number.isSafeInteger(codePoints) || codePoints < 0) {
    throw badField(where, `${field}.answer_start`, "a whole number from 0", kindOf(codePoints));
  }
  const start = offset(codePoints);
  if (!context.startsWith(text, start)) {
    throw badField(where, `${field}.answer_start`, "the answer at this place of the context", "other text");
  }
  return { text, start };
}

/** From places counted in code points, as Python does, to those of a JavaScript string. Past the end is the end. */
function codePointOffsets(text: string): (codePoints: number) => number {
  if (!/[\ud800-\udfff]/.test(text)) return (codePoints) => codePoints;
  const offsets: number[] = [];
  let offset = 0;
  for (const character of text) {
    offsets.push(offset);
    offset += character.length;
  }
  return (codePoints) => offsets[codePoints] ?? text.length;
}
