/**
 * How fragments of WikiText articles are written for a model. Fragments come from the middle of articles, where the file
 * has neither a beginning of sequence nor the end that a model's passages for questions have; a model that takes these
 * for signs of another kind of text predicts the file's own (`<unk>`, `@-@`, spaces before commas) much worse.
 */
import { beginning, type FormedModel } from "../../model/form.js";

/**
 * - `file`: as the file has them, paragraphs after a space and before ` \n`, and no beginning of sequence
 * - `file-bos`: the same behind the model's beginning of sequence
 * - `passage`: as passages for questions are written, behind the beginning of sequence and with the model's passage end
 */
export const wikiTextForms = ["file", "file-bos", "passage"] as const;

export type WikiTextForm = (typeof wikiTextForms)[number];

export interface FragmentForm {
  /** Tokens that begin every sequence, once. */
  beginning: readonly number[];
  /** A text whose paragraphs stand between blank lines, without whitespace at its ends. */
  encode(text: string): number[];
  /** Tokens that end a context. */
  end: readonly number[];
}

export function fragmentForm(model: FormedModel, form: WikiTextForm = "file"): FragmentForm {
  const { tokenizer } = model;
  if (form === "passage") return passageForm(model);
  return {
    beginning: form === "file" ? [] : beginning(model),
    encode: (text) => tokenizer.encode(` ${text.replaceAll("\n\n", " \n ")}`),
    end: tokenizer.encode(" \n"),
  };
}

/** As passages for questions are written. */
export function passageForm(model: FormedModel): FragmentForm {
  const { tokenizer, form } = model;
  return { beginning: beginning(model), encode: (text) => tokenizer.encode(text), end: form.passageSuffixIds };
}
