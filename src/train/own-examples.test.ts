import { writeFile } from "node:fs/promises";
import { expect, test } from "vitest";
import { useScratch } from "../../test/support/scratch.js";
import { Random } from "../evaluate/random.js";
import type { FormedModel } from "../model/form.js";
import { readOwnExamples } from "./own-examples.js";

const scratch = useScratch();
const bos = 1000;
const end = 1001;
/** A character is a token. */
const model: FormedModel = {
  config: { bosTokenId: bos },
  form: { bos: true, passageSuffixIds: [end], questionTemplate: "Q: {question} A:", stop: ["\n"] },
  tokenizer: { encode: (text) => Array.from(text, (character) => character.charCodeAt(0)) },
};
const encode = (text: string) => model.tokenizer.encode(text);

async function read(...rows: unknown[]) {
  const path = scratch.path("rows.jsonl");
  await writeFile(path, rows.map((row) => JSON.stringify(row)).join("\n"));
  const source = await readOwnExamples(model, path);
  return source.batch(
    Array.from({ length: source.size }, (_, i) => i),
    Random.of(0),
  );
}

test("questions in the model's form, texts as they stand", async () => {
  const examples = await read(
    { contexts: ["one", "two"], question: "why?", answer: "so" },
    { contexts: ["one"], query: " a ", target: " b\n" },
    { contexts: [], query: "a", target: "b" },
  );
  expect(examples).toEqual([
    {
      contexts: [
        [bos, ...encode("one"), end],
        [bos, ...encode("two"), end],
      ],
      query: encode("Q: why? A:"),
      target: encode(" so\n"),
    },
    { contexts: [[bos, ...encode("one"), end]], query: encode(" a "), target: encode(" b\n") },
    { contexts: [], query: [bos, ...encode("a")], target: encode("b") },
  ]);
});

test.each([
  [[], /line 1, row/],
  [{ question: "a", answer: "b" }, /line 1, contexts/],
  [{ contexts: ["a", 1], question: "a", answer: "b" }, /contexts\[1\]/],
  [{ contexts: [], question: "a" }, /line 1, answer/],
  [{ contexts: [] }, /question with answer, or query with target, found neither/],
  [{ contexts: [], question: "a", query: "b", target: "c", answer: "d" }, /found question and query/],
  [{ contexts: [], query: "a", target: "" }, /target: expected a text, found an empty one/],
])("names what is wrong with %j", async (row, message) => {
  await expect(read(row)).rejects.toMatchObject({ code: "bad-file" });
  await expect(read(row)).rejects.toThrow(message);
});

test("a file without rows is no training data", async () => {
  await expect(read()).rejects.toThrow(/expected a row/);
});
