/** Runs and their journals: repeatable, resumable, never mixed. */
import { copyFile, mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { makeGoldenFolder } from "../../test/support/golden.js";
import { useScratch } from "../../test/support/scratch.js";
import { PicasoError } from "../errors.js";
import { LanguageModel } from "../model/language-model.js";
import type { QueryPlan, QueryResult } from "./measure-query.js";
import { evaluationMethods } from "./methods.js";
import { type RunOptions, runEvaluation } from "./run.js";
import { summarize } from "./summary.js";
import { randomQueries } from "./test-queries.js";

const scratch = useScratch();
const count = 6;
const plan: QueryPlan = {
  methods: evaluationMethods,
  ks: [0, 1, 2, 3],
  piconcatMost: 3,
  answerTokens: 4,
  scatter: { queries: 2, k: 3, orders: 3, seed: 1 },
};
let model: LanguageModel;
let results: QueryResult[];
let journal: string;

beforeAll(async () => {
  model = await LanguageModel.load(await makeGoldenFolder("golden-g1", scratch.path("g1")), { threads: 1 });
  results = await run("whole");
  journal = await readFile(scratch.path("whole", "queries.jsonl"), "utf8");
});
afterAll(() => model?.dispose());

function run(out: string, options: Partial<RunOptions> = {}): Promise<QueryResult[]> {
  const settings = { suite: "random", seed: 0 };
  return runEvaluation(model, randomQueries(model, count, 4), { out: scratch.path(out), plan, settings, ...options });
}

/** Goes on from a journal with this content; how often a query was measured stands beside the results. */
async function resume(out: string, content: string | Uint8Array) {
  await mkdir(scratch.path(out), { recursive: true });
  await writeFile(scratch.path(out, "queries.jsonl"), content);
  const progress: number[] = [];
  const resumed = await run(out, { onProgress: ({ done }) => progress.push(done) });
  return { resumed, measured: progress.length, text: await readFile(scratch.path(out, "queries.jsonl"), "utf8") };
}

test("a run is the same to the last digit when it is run again", async () => {
  expect(await run("again")).toEqual(results);
  expect(await readFile(scratch.path("again", "queries.jsonl"), "utf8")).toBe(journal);
});

test("the journal has a line for what is run and one for each query, in order", () => {
  const [heading, ...lines] = journal
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line));
  expect(heading.settings).toMatchObject({ suite: "random", seed: 0, model: model.fingerprint, plan, queries: count });
  expect(lines).toEqual(results);
  expect(lines.map(({ id }) => id)).toEqual(["q0", "q1", "q2", "q3", "q4", "q5"]);
  expect(lines.map(({ scatter }) => scatter?.length)).toEqual([4, 4, undefined, undefined, undefined, undefined]);
});

describe("an interrupted run", () => {
  const lines = () => journal.split(/(?<=\n)/);

  test.each([0, 1, 2, 4, 6])("goes on behind %i queries", async (done) => {
    const { resumed, measured, text } = await resume(
      `after-${done}`,
      lines()
        .slice(0, done + 1)
        .join(""),
    );
    expect(measured).toBe(count - done);
    expect(summarize(resumed)).toEqual(summarize(results));
    expect(text).toBe(journal);
  });

  test.each([
    ["the heading", 0.5],
    ["the first query", 1.5],
    ["a later query", 4.3],
    ["the last query, all but its line end", 6.9999],
  ])("measures again what was cut off in %s", async (_, place) => {
    const whole = lines().slice(0, Math.floor(place)).join("");
    const cut = lines()[Math.floor(place)]!;
    const part = cut.slice(0, Math.min(cut.length - 1, Math.ceil((place % 1) * cut.length)));
    const { resumed, measured, text } = await resume(`cut-${place}`, whole + part);
    expect(measured).toBe(count - Math.max(0, Math.floor(place) - 1));
    expect(summarize(resumed)).toEqual(summarize(results));
    expect(text).toBe(journal);
  });

  test("cut inside a character of several bytes goes on", async () => {
    const settings = { suite: "größer", seed: 0 };
    const heading = Buffer.from(`${JSON.stringify({ settings })}\n`);
    await run("accent", { settings });
    const path = scratch.path("accent", "queries.jsonl");
    await writeFile(path, Buffer.concat([(await readFile(path)).subarray(0, -2), heading.subarray(0, 20)]));
    expect(summarize(await run("accent", { settings }))).toEqual(summarize(results));
  });

  test("stops when it is told to, and keeps what it has", async () => {
    const stop = new AbortController();
    const running = run("stopped", {
      signal: stop.signal,
      onProgress: ({ done }) => done === 3 && stop.abort(),
    });
    await expect(running).rejects.toMatchObject({ code: "aborted" });
    const kept = await readFile(scratch.path("stopped", "queries.jsonl"), "utf8");
    expect(journal.startsWith(kept)).toBe(true);
    expect(kept.trimEnd().split("\n")).toHaveLength(4);
    expect(await run("stopped")).toEqual(results);
  });
});

describe("the journal of another run", () => {
  test.each<[string, Partial<RunOptions>]>([
    ["other settings", { settings: { suite: "random", seed: 1 } }],
    ["other methods", { plan: { ...plan, methods: ["none"] } }],
    ["other k", { plan: { ...plan, ks: [0, 1] } }],
    ["another form of states", { codec: "bf16" }],
  ])("is refused: %s", async (name, options) => {
    const out = name.replaceAll(" ", "-");
    await mkdir(scratch.path(out));
    await copyFile(scratch.path("whole", "queries.jsonl"), scratch.path(out, "queries.jsonl"));
    const error: unknown = await run(out, options).catch((error) => error);
    if (!PicasoError.isInstance(error)) throw error;
    expect(error.code).toBe("mismatch");
    expect(error.message).toContain(join(out, "queries.jsonl"));
    expect(error.message).toContain("--out");
    // Nothing of it is touched.
    expect(await readFile(scratch.path(out, "queries.jsonl"), "utf8")).toBe(journal);
  });

  test("is refused for other data of the same name, and says that it is the content", async () => {
    const queries = randomQueries(model, count, 4);
    const { contexts } = queries[1]!;
    const [first, ...others] = contexts;
    const changed = { ...queries[1]!, contexts: [{ ...first!, tokens: [...first!.tokens, 7] }, ...others] };
    const options = { out: scratch.path("whole"), plan, settings: { suite: "random", seed: 0 } };
    const running = runEvaluation(model, [queries[0]!, changed, ...queries.slice(2)], options);
    await expect(running).rejects.toMatchObject({
      code: "mismatch",
      details: {
        expected: expect.stringMatching(/^the results of this run, content "\w{16}"$/),
        found: expect.stringMatching(/^those of another, content "\w{16}"$/),
      },
    });
    expect(await readFile(scratch.path("whole", "queries.jsonl"), "utf8")).toBe(journal);
  });

  test("damaged inside is refused by line", async () => {
    const lines = journal.split("\n");
    lines[2] = `${lines[2]!.slice(0, 40)}`;
    const error: unknown = await resume("damaged", lines.join("\n")).catch((error) => error);
    if (!PicasoError.isInstance(error)) throw error;
    expect(error.code).toBe("bad-file");
    expect(error.message).toContain("line 3");
  });
});
