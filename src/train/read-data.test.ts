/** From files of each task to examples, and what is refused. */
import { mkdir, writeFile } from "node:fs/promises";
import { expect, test } from "vitest";
import { useScratch } from "../../test/support/scratch.js";
import { Random } from "../evaluate/random.js";
import type { FormedModel } from "../model/form.js";
import { readTrainingData, type TrainingTask } from "./read-data.js";

const scratch = useScratch();
const model: FormedModel = {
  config: { bosTokenId: null },
  form: { bos: false, passageSuffixIds: [], questionTemplate: "Q: {question} A:", stop: ["\n"] },
  tokenizer: { encode: (text) => Array.from(text, (character) => character.charCodeAt(0)) },
};

const paragraph = (word: string) => `${`${word} `.repeat(10).trim()}.`;
const files: Record<TrainingTask, unknown> = {
  wikitext: `\n = One = \n\n ${paragraph("alpha")} \n\n ${paragraph("bravo")} \n\n`,
  documents: `${paragraph("alpha")}\n\n${paragraph("bravo")}\n`,
  squad: {
    data: [
      {
        title: "T",
        paragraphs: ["red fox", "blue sky"].map((context, i) => ({
          context,
          qas: [{ id: `${i}`, question: "what colour?", answers: [{ text: context.split(" ")[0], answer_start: 0 }] }],
        })),
      },
    ],
  },
  nq: ["fox", "sky"].map((word) => ({
    ...{ question: `which story of ${word}?`, answers: [word] },
    ctxs: [{ id: word, title: word, text: `story of ${word}`, hasanswer: true, isgold: true }],
  })),
  msmarco: [
    {
      ...{ query: "q", query_id: 1, query_type: "entity", answers: ["yes"] },
      passages: { is_selected: [1, 0], passage_text: ["one", "two"], url: ["", ""] },
    },
  ],
  examples: [{ contexts: ["one", "two"], question: "why?", answer: "so" }],
};

async function write(task: TrainingTask): Promise<string> {
  const content = files[task];
  const path = scratch.path(task === "documents" ? "documents.md" : `${task}.jsonl`);
  const isLines = task === "nq" || task === "examples";
  const json = isLines ? (content as unknown[]).map((row) => JSON.stringify(row)).join("\n") : JSON.stringify(content);
  await mkdir(scratch.path(), { recursive: true });
  await writeFile(path, typeof content === "string" ? content : json);
  return path;
}

test.each<[TrainingTask, number]>([
  ["wikitext", 1],
  ["documents", 1],
  ["squad", 2],
  ["nq", 2],
  ["msmarco", 2],
  ["examples", 2],
])("%s: examples with %i contexts", async (task, contexts) => {
  const own = task === "msmarco" || task === "examples";
  const range = own ? {} : { contexts: { min: contexts, max: contexts } };
  const source = await readTrainingData(model, { task, path: await write(task), passageTokens: 64, ...range });
  const batch = await source.batch(
    Array.from({ length: source.size }, (_, i) => i),
    Random.of(0),
  );
  expect(batch.length).toBeGreaterThan(0);
  for (const example of batch) {
    expect(example.contexts.length).toBe(contexts);
    expect(example.query.length).toBeGreaterThan(0);
    expect(example.target.length).toBeGreaterThan(0);
  }
});

test.each<TrainingTask>(["msmarco", "examples"])("%s: rows carry their own contexts", async (task) => {
  const path = await write(task);
  const read = readTrainingData(model, { task, path, contexts: { min: 1, max: 2 } });
  await expect(read).rejects.toMatchObject({ code: "bad-argument" });
});

test("a missing file is named", async () => {
  const read = readTrainingData(model, { task: "squad", path: scratch.path("absent.json") });
  await expect(read).rejects.toMatchObject({ code: "not-found" });
});
