import { describe, expect, test } from "vitest";
import { parseWikiText } from "../evaluate/data/wikitext.js";
import { passageForm } from "../evaluate/data/wikitext-form.js";
import { Random } from "../evaluate/random.js";
import type { FormedModel } from "../model/form.js";
import {
  continuationExamples,
  msMarcoExamples,
  nqQuestions,
  questionExamples,
  retrieved,
  sameArticle,
  squadQuestions,
  wikiTexts,
} from "./data.js";
import type { ExampleSource } from "./example.js";

const bos = 1000;
const end = 1001;
/** A character is a token. */
const model: FormedModel = {
  config: { bosTokenId: bos },
  form: { bos: true, passageSuffixIds: [end], questionTemplate: "Q: {question} A:", stop: ["\n"] },
  tokenizer: { encode: (text) => Array.from(text, (character) => character.charCodeAt(0)) },
};
const text = (tokens: readonly number[]) => String.fromCharCode(...tokens.filter((token) => token < bos));

async function all(source: ExampleSource, seed = 1) {
  return source.batch(
    Array.from({ length: source.size }, (_, i) => i),
    Random.of(seed),
  );
}

describe("continuation", async () => {
  const paragraph = (letter: string) => `${letter.repeat(30)}. ${letter.repeat(30)}.`;
  const texts = ["abcd", "xy"].map((letters) => ({ title: letters, text: [...letters].map(paragraph).join("\n\n") }));
  const source = await continuationExamples(model, texts, { passageTokens: 64, contexts: { min: 2, max: 2 } });

  test("a passage's halves, and others of its text", async () => {
    const examples = await all(source);
    expect(examples.length).toBe(6);
    for (const { contexts, query, target } of examples) {
      const letter = text(query)[0]!;
      expect(text(query) + text(target)).toBe(paragraph(letter));
      expect(query.length).toBe(Math.floor(paragraph(letter).length / 2));
      const others = contexts.map((context) => text(context));
      expect(new Set(others).size).toBe(others.length);
      expect(others.length).toBe("xy".includes(letter) ? 1 : 2);
      for (const other of others) {
        expect(other).not.toContain(letter);
        expect("abcd".includes(other[0]!)).toBe("abcd".includes(letter));
      }
      for (const context of contexts) expect(context.at(-1)).toBe(end);
      // Passages come from the middle of a text.
      for (const tokens of [...contexts, query]) expect(tokens).not.toContain(bos);
    }
  });

  test("the number of contexts is drawn for the batch; a form's beginning stands before every sequence", async () => {
    const ranged = await continuationExamples(model, texts.slice(0, 1), {
      passageTokens: 64,
      contexts: { min: 0, max: 3 },
      form: passageForm(model),
    });
    const counts = new Set<number>();
    for (let seed = 0; seed < 30; seed++) {
      const examples = await all(ranged, seed);
      const [count] = new Set(examples.map(({ contexts }) => contexts.length));
      expect(examples.every(({ contexts }) => contexts.length === count)).toBe(true);
      expect(examples.every(({ query }) => (query[0] === bos) === (count === 0))).toBe(true);
      for (const context of examples.flatMap(({ contexts }) => contexts)) expect(context[0]).toBe(bos);
      counts.add(count!);
    }
    expect([...counts].sort()).toEqual([0, 1, 2, 3]);
  });

  test("the same draws give the same examples", async () => {
    expect(await all(source, 3)).toEqual(await all(source, 3));
    expect(await all(source, 3)).not.toEqual(await all(source, 4));
  });

  test("WikiText articles lose their headings", () => {
    const articles = parseWikiText("\n = One = \n\n First . \n\n = = Part = = \n\n Second . \n", "test");
    expect(wikiTexts(articles)).toEqual([{ title: "One", text: "First .\n\nSecond ." }]);
  });

  test("texts without a passage, and ranges that are none, are refused", async () => {
    await expect(continuationExamples(model, [], {})).rejects.toThrow(/training data/);
    await expect(continuationExamples(model, texts, { contexts: { min: 2, max: 1 } })).rejects.toThrow(/2 to 1/);
  });

  test("says how far it is, and stops when the signal fires", async () => {
    const seen: number[] = [];
    await continuationExamples(model, texts, { passageTokens: 64, onProgress: ({ done }) => seen.push(done) });
    expect(seen).toEqual([0, 1]);
    const stopped = continuationExamples(model, texts, { signal: AbortSignal.abort() });
    await expect(stopped).rejects.toMatchObject({ code: "aborted" });
  });
});

describe("questions", () => {
  const paragraphs = ["a0", "a1", "a2", "b0"].map((context) => ({
    title: context[0]!,
    context,
    questions: [{ id: context, question: `which ${context}?`, answers: [{ text: context, start: 0 }] }],
  }));
  const { pool, articles, questions } = squadQuestions(paragraphs);

  test("the right passage among others of its article, in the model's form", async () => {
    const options = { contexts: { min: 2, max: 2 } };
    const examples = await all(questionExamples(model, pool, questions, sameArticle(articles), options));
    for (const [i, { contexts, query, target }] of examples.entries()) {
      expect(text(query)).toBe(`Q: which ${pool[i]}? A:`);
      expect(text(target)).toBe(` ${pool[i]}\n`);
      expect(contexts.map(text)).toContain(pool[i]);
      expect(contexts.length).toBe(articles[i] === "a" ? 2 : 1);
      expect(contexts.every((context) => text(context)[0] === articles[i])).toBe(true);
      expect(contexts.every((context) => context[0] === bos && context.at(-1) === end)).toBe(true);
    }
  });

  test("the right passage stands anywhere", async () => {
    const source = questionExamples(model, pool, questions.slice(0, 1), sameArticle(articles), {
      contexts: { min: 3, max: 3 },
    });
    const places = new Set<number>();
    for (let seed = 0; seed < 30; seed++) {
      const [example] = await all(source, seed);
      places.add(example!.contexts.findIndex((context) => text(context) === "a0"));
    }
    expect([...places].sort()).toEqual([0, 1, 2]);
  });

  test("retrieved distractors: the best that are not the right one", async () => {
    const search = async (_: string, limit: number) => [2, 0, 3, 1].slice(0, limit).map((index) => ({ index }));
    const source = questionExamples(model, pool, questions, retrieved(search), { contexts: { min: 3, max: 3 } });
    const found = (await all(source)).map(({ contexts }) => contexts.map(text).sort());
    expect(found).toEqual([
      ["a0", "a2", "b0"],
      ["a0", "a1", "a2"],
      ["a0", "a2", "b0"],
      ["a0", "a2", "b0"],
    ]);
  });

  test("no contexts: the question begins the sequence; the answer's end can be left out", async () => {
    const options = { contexts: { min: 0, max: 0 }, endAnswer: false };
    const [example] = await all(questionExamples(model, pool, questions, sameArticle(articles), options));
    expect(example!.contexts).toEqual([]);
    expect(example!.query[0]).toBe(bos);
    expect(text(example!.target)).toBe(" a0");
  });

  test("NQ passages carry their titles", () => {
    const rows = [{ question: "q", answers: ["one", "two"], gold: { title: "T", text: "body" } }];
    expect(nqQuestions(rows)).toEqual({ pool: ["T\nbody"], questions: [{ question: "q", answer: "one", gold: 0 }] });
  });

  test("MS MARCO: all passages in order, rows without an answer left out", async () => {
    const passage = (content: string) => ({ text: content, url: "", selected: false });
    const row = { id: "1", query: "q", type: "entity", passages: [passage("p"), passage("r")], answers: ["yes", "no"] };
    const source = msMarcoExamples(model, [row, { ...row, answers: [] }]);
    const examples = await all(source);
    expect(examples.map(({ contexts }) => contexts.map(text))).toEqual([["p", "r"]]);
    expect(text(examples[0]!.target)).toBe(" yes\n");
  });
});
