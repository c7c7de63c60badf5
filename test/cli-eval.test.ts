/** `picaso eval` as a user runs it, on a tiny model: its processes, its files, its refusals. */
import { readdir, readFile, writeFile } from "node:fs/promises";
import { beforeAll, expect, test } from "vitest";
import { wikiText } from "../src/evaluate/test-queries.js";
import { picaso } from "./support/cli.js";
import { changedEmbedder, embedderFolder } from "./support/embedder.js";
import { makeGoldenFolder } from "./support/golden.js";
import { useScratch } from "./support/scratch.js";

const scratch = useScratch();
let model: string;

beforeAll(async () => {
  model = await makeGoldenFolder("golden-g1", scratch.path("g1"));
  await writeFile(scratch.path("wiki.tokens"), wikiText(6));
});

/** Ten queries are two blocks of work. */
function evaluate(out: string, ...more: string[]) {
  const fixed = ["--model", model, "--data", scratch.path("wiki.tokens"), "--out", scratch.path(out), "--threads", "1"];
  const small = ["--passage-tokens", "64", "-k", "0,1,2,3", "--queries", "10", "--scatter", "2", "--timings", "1"];
  return picaso(["eval", "wikitext", ...fixed, ...small, "--quiet", ...more], {
    env: { PICASO_CACHE: scratch.path("cache") },
  });
}

/** The journal's lines, those of the queries in the order of their ids. */
async function journal(out: string): Promise<string[]> {
  const [heading, ...lines] = (await readFile(scratch.path(out, "queries.jsonl"), "utf8")).trimEnd().split("\n");
  return [heading!, ...lines.sort()];
}

test("any number of workers measures the same, to the last digit", async () => {
  const runs = ["0", "1", "2"].map((workers) => ({ workers, out: `workers-${workers}` }));
  for (const { workers, out } of runs) {
    const { code, stderr } = await evaluate(out, "--workers", workers);
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
  }
  const [none, one, two] = await Promise.all(runs.map(({ out }) => journal(out)));
  expect(none).toHaveLength(11);
  expect(one).toEqual(none);
  expect(two).toEqual(none);
});

test("quantised weights are what every worker measures with", async () => {
  for (const workers of ["0", "1"]) {
    expect((await evaluate(`q8-${workers}`, "--dtype", "q8", "--workers", workers)).code).toBe(0);
  }
  const lines = await journal("q8-1");
  expect(lines).toEqual(await journal("q8-0"));
  expect(lines.slice(1)).not.toEqual((await journal("workers-0")).slice(1));
});

test("writes a journal, a summary, a report and its pictures", async () => {
  const files = await readdir(scratch.path("workers-0"), { recursive: true });
  const plots = ["log-perplexity", "over-concat", "quality-time", "scatter"].map((name) => `plots/${name}.svg`);
  expect(files).toEqual(expect.arrayContaining(["queries.jsonl", "summary.json", "report.html", ...plots]));
  const summary = JSON.parse(await readFile(scratch.path("workers-0", "summary.json"), "utf8"));
  expect(summary).toMatchObject({ queries: 10, settings: { suite: "wikitext", data: "wiki.tokens", seed: 0 } });
});

test("goes on with a finished run without measuring, and refuses one of other settings", async () => {
  const before = await readFile(scratch.path("workers-0", "queries.jsonl"), "utf8");
  expect((await evaluate("workers-0")).code).toBe(0);
  const { code, stderr } = await evaluate("workers-0", "--seed", "1");
  expect(code).toBe(1);
  expect(stderr).toContain("queries.jsonl");
  expect(await readFile(scratch.path("workers-0", "queries.jsonl"), "utf8")).toBe(before);
});

test("retrieves by an embedder, goes on with it, and not with another or without", async () => {
  const embedder = ["--retrieval", "embedder", "--embedder", embedderFolder];
  const { code, stderr } = await evaluate("embedder", ...embedder, "--workers", "1");
  expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
  const lines = await journal("embedder");
  expect(lines).toHaveLength(11);
  expect(lines[0]).toMatch(/"retrieval":"embedder","embedder":"embedder [0-9a-f]{32}"/);
  expect(lines.slice(1)).not.toEqual((await journal("workers-0")).slice(1));
  expect((await evaluate("embedder", ...embedder)).code).toBe(0);
  expect(await journal("embedder")).toEqual(lines);
  const other = await changedEmbedder(scratch.path("embedder-cls"), {
    "1_Pooling/config.json": { embedding_dimension: 32, pooling_mode: "cls" },
  });
  const refused = await evaluate("embedder", "--retrieval", "embedder", "--embedder", other);
  expect(refused.code).toBe(1);
  expect(refused.stderr).toContain("queries.jsonl");
  const without = await evaluate("no-embedder", "--retrieval", "embedder");
  expect(without.code).toBe(2);
  expect(without.stderr).toContain("--embedder");
});
