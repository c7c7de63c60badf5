/**
 * Training examples of one's own, from JSON Lines. Two forms of a row, which may stand mixed:
 *
 *     {"contexts": ["text", ...], "question": "...", "answer": "..."}   put in the model's form of questions
 *     {"contexts": ["text", ...], "query": "...", "target": "..."}      read as they stand
 */
import { badField, listField, objectField, stringField, textField } from "../evaluate/data/fields.js";
import { readJsonLines } from "../evaluate/data/files.js";
import { beginning, contextTokens, type FormedModel } from "../model/form.js";
import { noExamples, questionExample } from "./data.js";
import { type ExampleSource, fixedExamples, type TrainingExample } from "./example.js";

/** All rows of a file. Throws `bad-file` naming line and field. */
export async function readOwnExamples(model: FormedModel, path: string): Promise<ExampleSource> {
  const rows = await readJsonLines(path);
  if (rows.length === 0) throw noExamples("a row");
  return fixedExamples(rows.map(({ value, line }) => ownExample(model, value, `${path}, line ${line}`)));
}

function ownExample(model: FormedModel, value: unknown, where: string): TrainingExample {
  const row = objectField(value, where, "row");
  const contexts = listField(row.contexts, where, "contexts").map((text, k) => {
    return textField(text, where, `contexts[${k}]`);
  });
  const isQuestion = "question" in row;
  if (isQuestion === "query" in row) {
    const found = isQuestion ? "question and query" : "neither";
    throw badField(where, "row", "question with answer, or query with target", found);
  }
  if (isQuestion) {
    const question = textField(row.question, where, "question");
    return questionExample(model, question, textField(row.answer, where, "answer"), contexts, true);
  }
  // Texts, not titles: spaces at their borders count.
  const query = nonEmpty(stringField(row.query, where, "query"), where, "query");
  const target = nonEmpty(stringField(row.target, where, "target"), where, "target");
  const { tokenizer } = model;
  return {
    contexts: contexts.map((text) => contextTokens(model, text)),
    query: [...(contexts.length === 0 ? beginning(model) : []), ...tokenizer.encode(query)],
    target: tokenizer.encode(target),
  };
}

function nonEmpty(text: string, where: string, field: string): string {
  if (text === "") throw badField(where, field, "a text", "an empty one");
  return text;
}
