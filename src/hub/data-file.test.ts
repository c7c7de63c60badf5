import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { resolveDataFile } from "./data-file.js";
import { parseDataReference } from "./reference.js";
import type { HubOptions } from "./settings.js";
import { commitOf, failure, testHub } from "./test-hub.js";

const context = testHub();
const content = Buffer.alloc(3000, "PAR1 and so on ");
const path = "v1.1/test 00000-of-00001.parquet";
const reference = `hub:datasets/org/questions/${path}`;

function resolve(text: string, options: HubOptions = {}): Promise<string> {
  return resolveDataFile(text, { hubUrl: context.hub.url, cacheDir: context.cacheDir, ...options });
}

test("a local path is returned as it is", async () => {
  const local = join(context.cacheDir, "rows.jsonl");
  writeFileSync(local, "{}");
  expect(await resolve(local)).toBe(local);
  const error = await failure(resolve("no/such/file.json"));
  expect(error.code).toBe("not-found");
  expect(error.message).toMatch(/hub:datasets\/ORG\/NAME/);
});

test("a file of a data set is downloaded once", async () => {
  context.hub.add("datasets/org/questions", { [path]: content, "README.md": "" });
  const file = await resolve(reference);
  expect(file).toBe(join(context.cacheDir, "datasets--org--questions", "snapshots", commitOf(1), ...path.split("/")));
  expect(readFileSync(file)).toEqual(content);
  context.hub.seen.length = 0;
  expect(await resolve(reference)).toBe(file);
  expect(await resolve(`hf://datasets/org/questions@${commitOf(1)}/${path}`)).toBe(file);
  expect(context.hub.downloads).toEqual([]);
  context.hub.seen.length = 0;
  expect(await resolve(reference, { offline: true })).toBe(file);
  expect(context.hub.seen).toEqual([]);
  await context.hub.stop();
  expect(await resolve(reference)).toBe(file);
});

test("offline and not in the cache", async () => {
  const error = await failure(resolve(reference, { offline: true }));
  expect(error.code).toBe("not-found");
  expect(error.message).toMatch(/without --offline/);
});

test("what is not there", async () => {
  expect((await failure(resolve(reference))).message).toMatch(/404/);
  context.hub.add("datasets/org/questions", { [path]: content });
  expect((await failure(resolve("hub:datasets/org/questions/none.parquet"))).message).toMatch(/no file none\.parquet/);
  expect((await failure(resolve("hub:datasets/org/questions/v1.1"))).message).toMatch(/a folder v1\.1/);
  expect((await failure(resolve(`hub:datasets/org/questions@v9/${path}`))).message).toMatch(/revision v9/);
});

test("revisions in references", () => {
  const parse = (text: string) => {
    const { repo, path } = parseDataReference(text);
    return [repo.name, repo.revision, path];
  };
  expect(parse("hub:datasets/a/b/c.parquet")).toEqual(["a/b", "main", "c.parquet"]);
  expect(parse("hub:datasets/a/b@v1/c/d@e.parquet")).toEqual(["a/b", "v1", "c/d@e.parquet"]);
  expect(parse("hf://datasets/a/b@refs/convert/parquet/c/d.parquet")).toEqual([
    "a/b",
    "refs/convert/parquet",
    "c/d.parquet",
  ]);
});

test.each([
  "hub:",
  "hub:org/name/file",
  "hub:models/org/name/file",
  "hub:datasets/org/name",
  "hub:datasets/org/name/",
  "hub:datasets/org/name/../../x",
  "hub:datasets/org/name/a//b",
  "hub:datasets/org/name/a\\b",
  "hub:datasets/../name/x",
  "hub:datasets/org/name@/x",
  "hub:datasets/org/name@a..b/x",
])("%j is no reference", async (text) => {
  expect((await failure(resolve(text))).code).toBe("bad-argument");
  expect(context.hub.seen).toEqual([]);
});
