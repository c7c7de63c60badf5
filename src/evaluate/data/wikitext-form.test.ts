import { expect, test } from "vitest";
import type { FormedModel } from "../../model/form.js";
import { fragmentForm } from "./wikitext-form.js";

/** A token is a character's code. */
const model: FormedModel = {
  form: { bos: true, passageSuffixIds: [7, 7], questionTemplate: "{question}", stop: [] },
  config: { bosTokenId: 1 },
  tokenizer: { encode: (text: string) => Array.from(text, (character) => character.charCodeAt(0)) },
};
const codes = (text: string) => model.tokenizer.encode(text);

test("as the file has them: lines begin with a space and end in ` \\n`, and no beginning of sequence", () => {
  const form = fragmentForm(model);
  const file = " One . \n Two . \n";
  expect([...form.beginning, ...form.encode("One .\n\nTwo ."), ...form.end]).toEqual(codes(file));
  expect(form.end).toEqual(codes(" \n"));
});

test("the same behind the beginning of sequence", () => {
  const form = fragmentForm(model, "file-bos");
  expect(form.beginning).toEqual([1]);
  expect(form.encode("One .")).toEqual(codes(" One ."));
});

test("as passages for questions", () => {
  const form = fragmentForm(model, "passage");
  expect([...form.beginning, ...form.encode("One .\n\nTwo ."), ...form.end]).toEqual([
    1,
    ...codes("One .\n\nTwo ."),
    ...[7, 7],
  ]);
});
