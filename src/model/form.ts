/**
 * The form of text that a model was trained on: what begins a context, what ends a passage, how a question is put and
 * where an answer ends. Read from the model's picaso.json; models without one get defaults from their configuration.
 */
import { PicasoError } from "../errors.js";
import { readText } from "./checkpoint/text-file.js";
import type { Mamba2Config } from "./config.js";
import { describeJson } from "./json.js";
import type { Tokenizer } from "./tokenizer.js";

export interface ModelForm {
  /** Whether the beginning-of-sequence token begins every context. */
  bos: boolean;
  /** Token ids that end a passage; ids, since a tokenizer may merge the text's end with what follows. */
  passageSuffixIds: number[];
  /** Text with `{question}` in it. */
  questionTemplate: string;
  /** Texts at which an answer ends. */
  stop: string[];
}

/** Reads picaso.json, or gives the defaults where `path` is null. Throws `bad-file` naming the field. */
export async function loadForm(path: string | null, config: Mamba2Config, tokenizer: Tokenizer): Promise<ModelForm> {
  const defaults: ModelForm = {
    bos: config.bosTokenId !== null,
    passageSuffixIds: tokenizer.encode("\n\n"),
    questionTemplate: "Question: {question}\nAnswer:",
    stop: ["\n"],
  };
  if (path === null) return defaults;
  const fail = (field: string, expected: string, found: unknown): never => {
    throw new PicasoError("bad-file", {
      where: `${path}, ${field}`,
      expected,
      found: describeJson(found),
      next: "Correct the file, or remove it to use the defaults.",
    });
  };
  const checks: Record<keyof ModelForm, [expected: string, fits: (value: unknown) => boolean]> = {
    bos: ["true or false", (value) => value === false || (value === true && config.bosTokenId !== null)],
    passageSuffixIds: [
      `a list of token ids below ${config.vocabSize}`,
      (value) => isList(value, (id) => Number.isInteger(id) && Number(id) >= 0 && Number(id) < config.vocabSize),
    ],
    questionTemplate: [
      "a text with {question} in it once",
      (value) => typeof value === "string" && value.split("{question}").length === 2,
    ],
    stop: [
      "a list of texts that are not empty",
      (value) => isList(value, (text) => !!text && typeof text === "string"),
    ],
  };
  let file: unknown;
  try {
    file = JSON.parse(await readText(path, "picaso.json of the model", "config"));
  } catch (cause) {
    if (PicasoError.isInstance(cause)) throw cause;
    return fail("top level", "JSON", (cause as Error).message);
  }
  if (typeof file !== "object" || file === null || Array.isArray(file)) return fail("top level", "an object", file);
  for (const [field, value] of Object.entries(file)) {
    const check = Object.hasOwn(checks, field) ? checks[field as keyof ModelForm] : undefined;
    if (!check) return fail(field, `one of ${Object.keys(checks).join(", ")}`, value);
    if (!check[1](value)) return fail(field, check[0], value);
  }
  return { ...defaults, ...file };
}

function isList(value: unknown, fits: (item: unknown) => boolean): boolean {
  return Array.isArray(value) && value.every(fits);
}

/** What {@link contextTokens} and {@link questionTokens} need of a model. */
export interface FormedModel {
  form: ModelForm;
  config: Pick<Mamba2Config, "bosTokenId">;
  tokenizer: Pick<Tokenizer, "encode">;
}

/** A passage as a context of its own: beginning of sequence, text, passage end. */
export function contextTokens(model: FormedModel, text: string): number[] {
  return [...beginning(model), ...passageTokens(model, text)];
}

/** A passage and its end, to be joined with others behind one beginning of sequence. */
export function passageTokens({ form, tokenizer }: FormedModel, text: string): number[] {
  return [...tokenizer.encode(text), ...form.passageSuffixIds];
}

/** The question as the model was trained to read it; without any context before it, it begins the sequence. */
export function questionTokens(model: FormedModel, question: string, { first = false } = {}): number[] {
  const text = model.form.questionTemplate.split("{question}").join(question);
  return [...(first ? beginning(model) : []), ...model.tokenizer.encode(text)];
}

/** The tokens that begin every sequence. */
export function beginning({ form, config }: Pick<FormedModel, "form" | "config">): number[] {
  return form.bos && config.bosTokenId !== null ? [config.bosTokenId] : [];
}
