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
  mixture: [
    { task: "examples", data: "examples.jsonl", times: 3 },
    { task: "nq", data: "nq.jsonl", contexts: "1-2" },
  ],
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

test("a mixture has the places of its parts, as often as each says", async () => {
  await Promise.all([write("examples"), write("nq")]);
  const source = await readTrainingData(model, { task: "mixture", path: await write("mixture") });
  expect(source.size).toBe(3 * 1 + 2);
  const batch = await source.batch([4, 2, 3, 0], Random.of(3));
  // Those of a part together, in the parts' order; the second draws one number of contexts for both.
  expect(batch.slice(0, 2).map(({ contexts }) => contexts.length)).toEqual([2, 2]);
  expect(batch[2]!.contexts.length).toBe(batch[3]!.contexts.length);
  const text = (tokens: number[]) => String.fromCharCode(...tokens);
  expect(batch.map(({ query }) => text(query).slice(0, 17))).toEqual([
    "Q: why? A:",
    "Q: why? A:",
    "Q: which story of",
    "Q: which story of",
  ]);
});

test.each<[string, unknown, RegExp]>([
  ["no list", {}, /mixture: expected a list/],
  ["nothing", [], /expected a part or more/],
  ["a task that is none", [{ task: "mixture", data: "a" }], /part 1, task: expected one of wikitext.*found mixture/],
  ["a field that is none", [{ task: "nq", data: "a", context: 2 }], /part 1, context: expected one of task/],
  ["a range that is none", [{ task: "nq", data: "a", contexts: "3-1" }], /contexts: expected.*found 3-1/],
  ["a number of times that is none", [{ task: "nq", data: "a", times: 0 }], /times: expected a whole number from 1/],
])("a mixture of %s is refused", async (_, content, message) => {
  const path = scratch.path("mixture.json");
  await mkdir(scratch.path(), { recursive: true });
  await writeFile(path, JSON.stringify(content));
  await expect(readTrainingData(model, { task: "mixture", path })).rejects.toThrow(message);
});

test("a missing file is named", async () => {
  const read = readTrainingData(model, { task: "squad", path: scratch.path("absent.json") });
  await expect(read).rejects.toMatchObject({ code: "not-found" });
});
