/**
 * Reader for MS MARCO question answering rows, v1.1 and v2.1 (Nguyen et al., "MS MARCO: A Human Generated MAchine
 * Reading COmprehension Dataset", 2016): a search query, some ten passages that were shown for it, which of them the
 * annotators used, and the answers they wrote.
 */
import { badField, kindOf, listField, objectField, stringField, textField } from "./fields.js";
import { firstCharacter, readJson, readJsonLines } from "./files.js";

export interface MsMarcoRow {
  /** The data set's query_id. */
  id: string;
  query: string;
  /** Kind of question in small letters: description, numeric, entity, location or person. */
  type: string;
  passages: MsMarcoPassage[];
  /** Empty where the annotators found no answer: an empty list in v1.1, "No Answer Present." in v2.1. */
  answers: string[];
}

export interface MsMarcoPassage {
  text: string;
  url: string;
  /** Whether the annotators used it for their answer. */
  selected: boolean;
}

const noAnswer = "No Answer Present.";

/**
 * The first `limit` rows of a file: a JSON list of rows, or JSON Lines (whatever the file's name says, as v1.1's are
 * called .json). Throws `bad-file`, naming file, row and field, for rows that are not MS MARCO's.
 */
export async function readMsMarco(path: string, limit = Infinity): Promise<MsMarcoRow[]> {
  if ((await firstCharacter(path)) === "[") {
    const rows = listField(await readJson(path), path, "file");
    return parseMsMarco(rows.slice(0, limit), path);
  }
  const rows = await readJsonLines(path, limit);
  return rows.map(({ value, line }) => msMarcoRow(value, `${path}, line ${line}`));
}

/** Checks rows already read, such as those of a Parquet file; rows are counted from 1 in errors. */
export function parseMsMarco(rows: readonly unknown[], where: string): MsMarcoRow[] {
  return rows.map((row, index) => msMarcoRow(row, `${where}, row ${index + 1}`));
}

function msMarcoRow(value: unknown, where: string): MsMarcoRow {
  const row = objectField(value, where, "row");
  const answers = listField(row.answers, where, "answers").map((a, i) => stringField(a, where, `answers[${i}]`));
  return {
    id: idField(row.query_id, where),
    query: textField(row.query, where, "query"),
    type: stringField(row.query_type, where, "query_type").toLowerCase(),
    passages: passageFields(row.passages, where),
    answers: answers.filter((answer) => answer.trim() !== "" && answer !== noAnswer),
  };
}

function idField(value: unknown, where: string): string {
  const isId = typeof value === "bigint" || Number.isSafeInteger(value) || (typeof value === "string" && value !== "");
  if (!isId) throw badField(where, "query_id", "a whole number or a string", kindOf(value));
  return String(value);
}

/** The Hub's rows hold three lists of equal length; the original files a list of passages. */
function passageFields(value: unknown, where: string): MsMarcoPassage[] {
  if (Array.isArray(value)) {
    return value.map((item, i) => {
      const field = `passages[${i}]`;
      const passage = objectField(item, where, field);
      return {
        text: textField(passage.passage_text, where, `${field}.passage_text`),
        url: stringField(passage.url, where, `${field}.url`),
        selected: flagField(passage.is_selected, where, `${field}.is_selected`),
      };
    });
  }
  const columns = objectField(value, where, "passages");
  const texts = listField(columns.passage_text, where, "passages.passage_text");
  const column = (name: "url" | "is_selected") => {
    const list = listField(columns[name], where, `passages.${name}`);
    if (list.length === texts.length) return list;
    throw badField(where, `passages.${name}`, `${texts.length} entries, as many as passage_text has`, `${list.length}`);
  };
  const urls = column("url");
  const flags = column("is_selected");
  return texts.map((text, i) => ({
    text: textField(text, where, `passages.passage_text[${i}]`),
    url: stringField(urls[i], where, `passages.url[${i}]`),
    selected: flagField(flags[i], where, `passages.is_selected[${i}]`),
  }));
}

function flagField(value: unknown, where: string, field: string): boolean {
  if (value === 1 || value === 1n || value === true) return true;
  if (value === 0 || value === 0n || value === false) return false;
  throw badField(where, field, "0 or 1", kindOf(value));
}
