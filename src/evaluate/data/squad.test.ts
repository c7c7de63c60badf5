import { describe, expect, it } from "vitest";
import { parseSquad, readSquad } from "./squad.js";
import { sharedData, temporaryFiles } from "./test-files.js";

const write = temporaryFiles();

const context = "The 𝕏 mill at Eling, a tide mill, works to this day.";
const qas = [
  { id: "q1", question: "Where is the mill?", answers: [{ text: "Eling", answer_start: 14 }] },
  {
    question: "What kind of mill is it?",
    answers: [
      { text: "a tide mill", answer_start: 21 },
      { text: "tide", answer_start: 23 },
    ],
  },
];
const file = { version: "1.1", data: [{ title: "Tide_mill", paragraphs: [{ context, qas }] }] };

/** The file with its only question replaced. */
const withQuestion = (question: unknown) => ({ data: [{ title: "T", paragraphs: [{ context, qas: [question] }] }] });

describe("parseSquad", () => {
  it("gives paragraphs with their questions, answers placed by JavaScript index", () => {
    const [paragraph] = parseSquad(file, "file");
    expect(paragraph!.title).toBe("Tide_mill");
    expect(paragraph!.questions.map((q) => q.id)).toEqual(["q1", "Tide_mill/0/1"]);
    // One character before the answers is two units of a JavaScript string.
    expect(paragraph!.questions[0]!.answers).toEqual([{ text: "Eling", start: 15 }]);
    for (const answer of paragraph!.questions.flatMap((q) => q.answers)) {
      expect(paragraph!.context.slice(answer.start, answer.start + answer.text.length)).toBe(answer.text);
    }
  });

  const answers = [{ text: "Eling", answer_start: 14 }];
  it.each([
    ["file", []],
    ["data", { data: {} }],
    ["data[0].title", { data: [{ paragraphs: [] }] }],
    ["data[0].paragraphs", { data: [{ title: "T" }] }],
    ["data[0].paragraphs[0], context", { data: [{ title: "T", paragraphs: [{ qas }] }] }],
    ["data[0].paragraphs[0], qas", { data: [{ title: "T", paragraphs: [{ context }] }] }],
    ["data[0].paragraphs[0], qas[0]", withQuestion(null)],
    ["data[0].paragraphs[0], qas[0].question", withQuestion({ answers })],
    ["data[0].paragraphs[0], qas[0].id", withQuestion({ id: 3, question: "Q", answers })],
    ["data[0].paragraphs[0], qas[0].answers", withQuestion({ question: "Q", answers: [], is_impossible: true })],
    ["data[0].paragraphs[0], qas[0].answers[0].text", withQuestion({ question: "Q", answers: [{ answer_start: 0 }] })],
    [
      "data[0].paragraphs[0], qas[0].answers[0].answer_start",
      withQuestion({ question: "Q", answers: [{ text: "T" }] }),
    ],
    [
      "data[0].paragraphs[0], qas[0].answers[0].answer_start",
      withQuestion({ question: "Q", answers: [{ text: "Eling", answer_start: 15 }] }),
    ],
    [
      "data[0].paragraphs[0], qas[0].answers[0].answer_start",
      withQuestion({ question: "Q", answers: [{ text: "Eling", answer_start: 2 ** 40 }] }),
    ],
  ])("names the place of a bad %s", (field, bad) => {
    let message = "";
    try {
      parseSquad(bad, "squad.json");
    } catch (error) {
      message = (error as Error).message;
    }
    expect(message.startsWith(`squad.json, ${field}: expected `)).toBe(true);
  });
});

describe("readSquad", () => {
  it("reads a file", async () => {
    expect(await readSquad(write("squad.json", JSON.stringify(file)))).toEqual(parseSquad(file, "file"));
  });

  for (const [split, paragraphs, questions] of [
    ["train", 18_896, 87_599],
    ["dev", 2067, 10_570],
  ] as const) {
    const shared = sharedData(`squad/squad_v1.1_${split}_reconstructed.json`);
    it.skipIf(shared.absent)(shared.label(`reads the ${split} set`), async () => {
      const found = await readSquad(shared.path);
      expect(found).toHaveLength(paragraphs);
      const ids = found.flatMap((paragraph) => paragraph.questions.map((question) => question.id));
      expect(ids).toHaveLength(questions);
      expect(new Set(ids).size).toBe(questions);
    });
  }
});
