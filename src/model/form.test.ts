import { writeFile } from "node:fs/promises";
import { beforeAll, expect, test } from "vitest";
import { useScratch } from "../../test/support/scratch.js";
import { tinyTokenizer } from "../../test/support/tiny-tokenizer.js";
import { bundledModel } from "./bundled.js";
import { type Mamba2Config, mamba2Config } from "./config.js";
import { loadForm } from "./form.js";
import { Tokenizer } from "./tokenizer.js";

const scratch = useScratch();
let tokenizer: Tokenizer;
let config: Mamba2Config;
beforeAll(async () => {
  await writeFile(scratch.path("tokenizer.json"), tinyTokenizer(288));
  tokenizer = await Tokenizer.load(scratch.path("tokenizer.json"), 288);
  const sizes = { hidden_size: 64, num_heads: 8, head_dim: 16, state_size: 16, n_groups: 1, conv_kernel: 4 };
  const fields = { model_type: "mamba2", vocab_size: 288, num_hidden_layers: 3, bos_token_id: 0, ...sizes };
  config = mamba2Config(fields, "config.json");
});

async function load(fields: object, of = config) {
  const path = scratch.path("picaso.json");
  await writeFile(path, JSON.stringify(fields));
  return loadForm(path, of, tokenizer);
}

test("a model without picaso.json gets the form of plain text", async () => {
  expect(await loadForm(null, config, tokenizer)).toEqual({
    bos: true,
    passageSuffixIds: tokenizer.encode("\n\n"),
    questionTemplate: "Question: {question}\nAnswer:",
    stop: ["\n"],
  });
  expect((await loadForm(null, { ...config, bosTokenId: null }, tokenizer)).bos).toBe(false);
});

test("picaso.json overrides field by field", async () => {
  const form = await load({ stop: ["###", "\n\n"], passageSuffixIds: [] });
  expect(form).toMatchObject({ bos: true, stop: ["###", "\n\n"], passageSuffixIds: [] });
  expect(await load({ bos: false, questionTemplate: "{question}?" })).toMatchObject({
    bos: false,
    questionTemplate: "{question}?",
    stop: ["\n"],
  });
  expect((await load({ bos: false }, { ...config, bosTokenId: null })).bos).toBe(false);
});

test("the bundled model's own form is read", async () => {
  const form = await loadForm(`${bundledModel}/picaso.json`, { ...config, vocabSize: 16_000 }, tokenizer);
  expect(form.passageSuffixIds).toEqual([200, 200]);
});
