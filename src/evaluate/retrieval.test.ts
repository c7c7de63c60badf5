/** Retrieval by an embedder in every suite that has it, against all similarities computed one by one. */
import { writeFile } from "node:fs/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { embedderFolder } from "../../test/support/embedder.js";
import { makeGoldenFolder } from "../../test/support/golden.js";
import { useScratch } from "../../test/support/scratch.js";
import { failure } from "../hub/test-hub.js";
import { LanguageModel } from "../model/language-model.js";
import { Embedder } from "../retrieve/embedder.js";
import { ablations } from "./ablation.js";
import { type EvaluateOptions, evaluateSuite, settingsOf } from "./evaluate-suite.js";
import type { EvaluationQuery } from "./query.js";
import { readSuite } from "./read-suite.js";
import { wikiText } from "./test-queries.js";

const scratch = useScratch();
let model: LanguageModel;
let embedder: Embedder;

const topics = ["tower", "bridge", "river", "garden", "castle", "market", "harbour", "winter"];
const passages = topics.map((topic, i) => `The ${topic} of the ${topics[(i * 3 + 1) % 8]} was built in ${1850 + i}.`);

beforeAll(async () => {
  model = await LanguageModel.load(await makeGoldenFolder("golden-g1", scratch.path("g1")), { threads: 1 });
  embedder = await Embedder.load(embedderFolder, { threads: 1 });
  await writeFile(scratch.path("wiki.tokens"), wikiText(3));
  const paragraphs = passages.map((context, i) => ({
    context,
    qas: [{ id: `q${i}`, question: `When was the ${topics[i]}?`, answers: [{ text: "The", answer_start: 0 }] }],
  }));
  const squad = { version: "1.1", data: [{ title: "Buildings", paragraphs }] };
  await writeFile(scratch.path("squad.json"), JSON.stringify(squad));
  const rows = topics.slice(0, 4).map((topic, i) => ({
    query_id: i,
    query: `when was the ${topic} built`,
    query_type: "NUMERIC",
    answers: i === 1 ? [] : [String(1850 + i)],
    passages: passages
      .slice(i)
      .map((text, j) => ({ passage_text: text, url: "http://example.org", is_selected: j === 0 ? 1 : 0 })),
  }));
  await writeFile(scratch.path("marco.json"), rows.map((row) => JSON.stringify(row)).join("\n"));
});
afterAll(async () => {
  await model?.dispose();
  await embedder?.dispose();
});

function options(suite: string, more: Partial<EvaluateOptions> = {}): EvaluateOptions {
  const file = { wikitext: "wiki.tokens", qa: "squad.json", msmarco: "marco.json" }[suite] ?? "wiki.tokens";
  return {
    ...{ suite, data: scratch.path(file), out: scratch.path("out"), ks: [0, 4], queries: 5, seed: 3 },
    ...{ retrieval: "embedder", embedder, passageTokens: 64, pool: [], piconcatMost: 0, scatter: 0, timings: 0 },
    ...more,
  };
}

async function cosines(query: string, texts: readonly string[]): Promise<number[]> {
  const [one] = await embedder.embed([query], { kind: "query" });
  const dot = (a: Float32Array, b: Float32Array) => a.reduce((sum, value, i) => sum + value * b[i]!, 0);
  const values: number[] = [];
  for (const text of texts) {
    const [other] = await embedder.embed([text], { kind: "document" });
    values.push(dot(one!, other!) / Math.sqrt(dot(one!, one!) * dot(other!, other!)));
  }
  return values;
}

/** Expects `found` to be the best of `candidates` for the query, best first. */
async function expectBest(query: string, found: readonly string[], candidates: readonly string[]): Promise<void> {
  const best = (await cosines(query, candidates)).sort((a, b) => b - a).slice(0, found.length);
  const given = await cosines(query, found);
  for (const [rank, value] of given.entries()) expect(Math.abs(value - best[rank]!)).toBeLessThan(1e-5);
}

function textsOf({ contexts }: EvaluationQuery): string[] {
  return contexts.map(({ tokens }) => model.tokenizer.decode(tokens.slice(0, tokens.length - suffix())));
}

function suffix(): number {
  return model.form.passageSuffixIds.length;
}

describe("the contexts most similar to the query, of all that it may get", () => {
  test("wikitext", async () => {
    const found = await readSuite(model, options("wikitext"));
    const all = await readSuite(model, options("wikitext", { retrieval: "random", ks: [10_000] }));
    expect(found).toHaveLength(5);
    for (const [number, query] of found.entries()) {
      expect(new Set(query.contexts.map(({ id }) => id)).size).toBe(4);
      const allowed = new Set(all[number]!.contexts.map(({ id }) => id));
      expect(query.contexts.filter(({ id }) => !allowed.has(id))).toEqual([]);
      await expectBest(model.tokenizer.decode(query.prompt), textsOf(query), textsOf(all[number]!));
    }
    const orders = found.map(({ contexts }) => contexts.map(({ id }) => id));
    const byWords = await readSuite(model, options("wikitext", { retrieval: "bm25" }));
    expect(orders).not.toEqual(byWords.map(({ contexts }) => contexts.map(({ id }) => id)));
  });

  test("qa", async () => {
    for (const query of await readSuite(model, options("qa"))) {
      expect(query.contexts).toHaveLength(4);
      const number = Number(query.id.slice(1));
      await expectBest(`When was the ${topics[number]}?`, textsOf(query), passages);
    }
  });

  test("msmarco: all passages of the row, of the first rows with an answer", async () => {
    const found = await readSuite(model, options("msmarco", { queries: 2 }));
    expect(found.map(({ id }) => id)).toEqual(["0", "2"]);
    for (const { id, contexts } of found) {
      const row = passages.slice(Number(id));
      const ranked = contexts.map((context) => row[Number(context.id.split("/")[1])]!);
      expect([...ranked].sort()).toEqual([...row].sort());
      await expectBest(`when was the ${topics[Number(id)]} built`, ranked, row);
    }
  });
});

test.each(["wikitext", "qa", "msmarco"])("%s tells how many passages are embedded", async (suite) => {
  const seen: [string, { done: number; total: number; unit?: string }][] = [];
  await readSuite(model, options(suite, { onProgress: (...each) => seen.push(each) }));
  const last = seen.findLast(([label]) => label === "embedding")![1];
  expect(last).toEqual({ done: last.total, total: last.total, unit: "passages" });
  const [stopped] = [failure(readSuite(model, options(suite, { signal: AbortSignal.abort() })))];
  expect((await stopped).code).toBe("aborted");
});

test("the embedder is part of what a run is; without one nothing changes", () => {
  const without = options("qa", { embedder: undefined, retrieval: "bm25" });
  expect(settingsOf(options("qa")).embedder).toBe(`embedder ${embedder.fingerprint}`);
  expect(JSON.stringify(settingsOf(without))).not.toContain("embedder");
});

test("the ablation of retrieval has it where there is one", () => {
  const names = (more: Partial<EvaluateOptions>) =>
    ablations.retrieval!(model, options("wikitext", more)).map(({ name }) => name);
  expect(names({})).toEqual(["random", "bm25", "embedder", "oracle"]);
  expect(names({ embedder: undefined })).toEqual(["random", "bm25", "oracle"]);
});

test("retrieval without an embedder, and an embedder that nothing uses, are refused", async () => {
  const none = await failure(evaluateSuite(model, options("qa", { embedder: undefined })));
  expect(none.message).toMatch(/--embedder.*--retrieval embedder/);
  for (const more of [{ retrieval: "bm25" }, { retrieval: undefined }, { suite: "needle" }, { suite: "perplexity" }]) {
    const error = await failure(evaluateSuite(model, options("qa", more)));
    expect(error.code).toBe("bad-argument");
    expect(error.message).toContain("--embedder");
  }
});
