/**
 * Reader for NQ-open questions with their gold passage, as JSON Lines (Natural Questions: Kwiatkowski et al., 2019; the
 * layout with gold passage and distractors is that of Liu et al., "Lost in the Middle", 2023): a question, its short
 * answers, and one passage of Wikipedia that holds an answer.
 */
import { badField, kindOf, listField, objectField, stringField, textField } from "./fields.js";
import { readJsonLines } from "./files.js";

export interface NqRow {
  question: string;
  /** At least one. */
  answers: string[];
  gold: { title: string; text: string };
}

/**
 * The first `limit` rows of a file. The gold passage is the first of `ctxs`; the others of a question are the gold
 * passages of other rows, some of which share theirs.
 *
 * Throws `bad-file`, naming file, line and field, for rows that are not such.
 */
export async function readNq(path: string, limit = Infinity): Promise<NqRow[]> {
  const rows = await readJsonLines(path, limit);
  return rows.map(({ value, line }) => nqRow(value, `${path}, line ${line}`));
}

function nqRow(value: unknown, where: string): NqRow {
  const row = objectField(value, where, "row");
  const answers = listField(row.answers, where, "answers").map((a, i) => textField(a, where, `answers[${i}]`));
  if (answers.length === 0) throw badField(where, "answers", "at least one answer", "none");
  const gold = objectField(listField(row.ctxs, where, "ctxs")[0], where, "ctxs[0]");
  if (gold.isgold !== undefined && gold.isgold !== true) {
    throw badField(where, "ctxs[0].isgold", "true: the gold passage comes first", kindOf(gold.isgold));
  }
  return {
    question: textField(row.question, where, "question"),
    answers,
    gold: {
      title: stringField(gold.title, where, "ctxs[0].title"),
      text: textField(gold.text, where, "ctxs[0].text"),
    },
  };
}
