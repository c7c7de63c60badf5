import { lstatSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { scanCacheDir } from "@huggingface/hub";
import { describe, expect, test, vi } from "vitest";
import { resolveModelFolder } from "./model-folder.js";
import type { DownloadProgress, HubOptions } from "./settings.js";
import { blobName, commitOf, cutAfter, failure, testHub } from "./test-hub.js";

// Pauses between tries, fifty times shorter.
vi.mock(import("node:timers/promises"), async (original) => {
  const real = await original();
  const setTimeout = (ms = 0, ...rest: [unknown?, object?]) => real.setTimeout(ms / 50, ...rest);
  return { ...real, setTimeout: setTimeout as typeof real.setTimeout };
});

const context = testHub();
const model = "org/tiny-mamba2";
const key = `models/${model}`;
const weights = Buffer.alloc(5000, "weights ");
const files = { "config.json": '{"model_type":"mamba2"}', "tokenizer.json": "{}", "model.safetensors": weights };

function resolve(id: string, options: HubOptions = {}): Promise<string> {
  return resolveModelFolder(id, { hubUrl: context.hub.url, cacheDir: context.cacheDir, ...options });
}

function repoFolder(...parts: string[]): string {
  return join(context.cacheDir, "models--org--tiny-mamba2", ...parts);
}

describe("what the text names", () => {
  test("an existing folder is returned as it is, with no request", async () => {
    mkdirSync(join(context.cacheDir, "org", "name"), { recursive: true });
    const path = `${context.cacheDir}/org/./name`;
    expect(await resolve(path)).toBe(path);
    expect(context.hub.seen).toEqual([]);
  });

  test("a file is no folder", async () => {
    const path = join(context.cacheDir, "config.json");
    writeFileSync(path, "{}");
    expect((await failure(resolve(path))).code).toBe("bad-argument");
  });

  test.each([
    "",
    "name",
    "./org/name",
    "a/b/c",
    "/tmp/none/here",
    "org/na--me",
    "org/..",
    "org/name.",
    "x\0y",
    "~/model",
  ])("%j is neither a folder nor an id", async (text) => {
    const error = await failure(resolve(text));
    expect(error.code).toBe("not-found");
    expect(error.message).toMatch(/model folder.*org\/name.*neither.*Check the path/s);
    expect(context.hub.seen).toEqual([]);
  });

  test.each(["org/name@", "org/name@a b", "org/name@../x", "org/name@-x", "org/name@a//b"])(
    "%j has no well-formed revision",
    async (text) => expect((await failure(resolve(text))).code).toBe("bad-argument"),
  );

  test("two different revisions are refused", async () => {
    expect((await failure(resolve("org/name@v1", { revision: "v2" }))).message).toMatch(/v1 and v2/);
  });
});

describe("download", () => {
  test("brings the needed files into the layout of the hub's cache", async () => {
    context.hub.add(key, {
      ...files,
      "picaso.json": '{"form":1}',
      "pytorch_model.bin": Buffer.alloc(9000),
      "consolidated.safetensors": Buffer.alloc(9000),
      "README.md": "read me",
    });
    const progress: DownloadProgress[] = [];
    const folder = await resolve(model, { onProgress: (p) => progress.push(p) });
    expect(folder).toBe(repoFolder("snapshots", commitOf(1)));
    expect(readdirSync(folder).sort()).toEqual(["config.json", "model.safetensors", "picaso.json", "tokenizer.json"]);
    expect(readFileSync(join(folder, "model.safetensors"))).toEqual(weights);
    expect(readFileSync(join(folder, "config.json"), "utf8")).toBe(files["config.json"]);
    expect(lstatSync(join(folder, "model.safetensors")).isSymbolicLink()).toBe(true);
    expect(readFileSync(repoFolder("blobs", blobName(weights, true)))).toEqual(weights);
    expect(readFileSync(repoFolder("blobs", blobName(Buffer.from("{}"), false)), "utf8")).toBe("{}");
    expect(readFileSync(repoFolder("refs", "main"), "utf8")).toBe(commitOf(1));
    for (const name of readdirSync(repoFolder("blobs"))) expect(name).toMatch(/^([0-9a-f]{40}|[0-9a-f]{64})$/);
    const { repos, warnings } = await scanCacheDir(context.cacheDir);
    expect(warnings).toEqual([]);
    expect(repos).toHaveLength(1);
    expect(repos[0]).toMatchObject({ id: { name: model, type: "model" }, filesCount: 4 });
    expect(repos[0]!.revisions).toMatchObject([{ commitOid: commitOf(1), refs: ["main"] }]);
    const ofWeights = progress.filter(({ file }) => file === "model.safetensors");
    expect(ofWeights[0]).toEqual({ phase: "download", file: "model.safetensors", done: 0, total: 5000 });
    expect(ofWeights.at(-1)).toEqual({ phase: "download", file: "model.safetensors", done: 5000, total: 5000 });
  });

  test("a second call asks for the commit alone", async () => {
    context.hub.add(key, files);
    const first = await resolve(model);
    context.hub.seen.length = 0;
    expect(await resolve(model)).toBe(first);
    expect(context.hub.seen.map(({ line }) => line)).toEqual([`GET /api/${key}/revision/main`]);
  });

  test("a new commit fetches only what changed", async () => {
    const repo = context.hub.add(key, files);
    await resolve(model);
    repo.commit = commitOf(2);
    repo.files["config.json"] = Buffer.from('{"model_type":"mamba2","new":1}');
    context.hub.seen.length = 0;
    const folder = await resolve(model);
    expect(folder).toBe(repoFolder("snapshots", commitOf(2)));
    expect(readFileSync(join(folder, "model.safetensors"))).toEqual(weights);
    expect(context.hub.downloads).toEqual([`GET /${model}/resolve/${commitOf(2)}/config.json`]);
    expect(readFileSync(repoFolder("refs", "main"), "utf8")).toBe(commitOf(2));
  });

  test("a commit as revision, in the id or in the options", async () => {
    context.hub.add(key, files);
    expect(await resolve(`${model}@${commitOf(1)}`)).toBe(repoFolder("snapshots", commitOf(1)));
    expect(await resolve(model, { revision: commitOf(1), offline: true })).toBe(repoFolder("snapshots", commitOf(1)));
  });

  test("shards are those that the index names", async () => {
    const map = {
      a: "model-00001-of-00002.safetensors",
      b: "model-00002-of-00002.safetensors",
      c: "model-00001-of-00002.safetensors",
    };
    const { "model.safetensors": _, ...others } = files;
    context.hub.add(key, {
      ...others,
      "model.safetensors.index.json": JSON.stringify({ weight_map: map }),
      "model-00001-of-00002.safetensors": Buffer.alloc(2000, 1),
      "model-00002-of-00002.safetensors": Buffer.alloc(2000, 2),
      "consolidated.safetensors": Buffer.alloc(2000, 3),
    });
    const folder = await resolve(model);
    expect(readdirSync(folder).filter((name) => name.startsWith("model-"))).toHaveLength(2);
    expect(readdirSync(folder)).not.toContain("consolidated.safetensors");
    expect(await resolve(model, { offline: true })).toBe(folder);
  });

  test.each([
    ["a path out of the folder", { a: "../../x.safetensors" }, "bad-file"],
    ["no file names", { a: 1 }, "bad-file"],
    ["a shard that is not there", { a: "model-00009-of-00009.safetensors" }, "not-found"],
  ])("an index with %s is refused", async (_name, map, code) => {
    const { "model.safetensors": _, ...others } = files;
    context.hub.add(key, { ...others, "model.safetensors.index.json": JSON.stringify({ weight_map: map }) });
    expect((await failure(resolve(model))).code).toBe(code);
  });

  test("pytorch_model.bin where there are no safetensors", async () => {
    const { "model.safetensors": _, ...others } = files;
    context.hub.add(key, { ...others, "pytorch_model.bin": weights });
    expect(readdirSync(await resolve(model))).toContain("pytorch_model.bin");
  });

  test("a model without tokenizer.json is refused before its weights are downloaded", async () => {
    context.hub.add(key, { "config.json": "{}", "pytorch_model.bin": weights });
    const error = await failure(resolve(model));
    expect(error.code).toBe("not-found");
    expect(error.message).toMatch(/tokenizer\.json.*GPT-NeoX.*EleutherAI\/gpt-neox-20b/s);
    expect(context.hub.downloads).toEqual([]);
  });

  test("what the hub says must be well-formed", async () => {
    const answer = (value: unknown) => (_: unknown, response: { end(text: string): void }) =>
      response.end(JSON.stringify(value));
    context.hub.add(key, files);
    context.hub.fail("/revision/", answer({ sha: "../../etc" }));
    expect((await failure(resolve(model))).code).toBe("failed");
    context.hub.fail("/revision/", (_, response) => response.end("<html>log in</html>"));
    expect((await failure(resolve(model))).message).toMatch(/HF_ENDPOINT/);
    const entry = { type: "file", path: "config.json", size: 5, oid: "../../../evil" };
    context.hub.fail("/paths-info/", answer([entry]));
    expect((await failure(resolve(model))).message).toMatch(/size and hash of config\.json/);
    context.hub.fail("/paths-info/", answer([{ ...entry, oid: commitOf(1), size: -1 }]));
    expect((await failure(resolve(model))).message).toMatch(/size and hash of config\.json/);
  });
});

describe("without network", () => {
  test("offline, the cache is used with no request", async () => {
    context.hub.add(key, files);
    const folder = await resolve(model);
    context.hub.seen.length = 0;
    expect(await resolve(model, { offline: true })).toBe(folder);
    process.env.HF_HUB_OFFLINE = "1";
    expect(await resolve(model, { offline: false })).toBe(folder);
    expect(context.hub.seen).toEqual([]);
  });

  test("offline without a copy, or with an incomplete one, says what to do", async () => {
    const none = await failure(resolve(model, { offline: true }));
    expect(none.code).toBe("not-found");
    expect(none.message).toMatch(/no copy in the cache.*without --offline.*model folder/s);
    context.hub.add(key, files);
    context.hub.fail("large:model.safetensors", ...Array.from({ length: 4 }, () => cutAfter(0)));
    await failure(resolve(model));
    writeFileSync(repoFolder("snapshots", commitOf(1), "note"), "");
    const error = await failure(resolve(`${model}@${commitOf(1)}`, { offline: true }));
    expect(error.message).toMatch(/lacks model\.safetensors/);
  });

  test("a hub that cannot be reached: the complete copy in the cache, else an error", async () => {
    context.hub.add(key, files);
    const folder = await resolve(model);
    await context.hub.stop();
    expect(await resolve(model)).toBe(folder);
    const error = await failure(resolve("org/other"));
    expect(error.code).toBe("failed");
    expect(error.message).toMatch(/no connection \(ECONNREFUSED\).*network.*model folder/s);
  });

  test("a cache that the hub's other programs filled is used", async () => {
    mkdirSync(repoFolder("snapshots", commitOf(7)), { recursive: true });
    mkdirSync(repoFolder("refs"), { recursive: true });
    writeFileSync(repoFolder("refs", "main"), commitOf(7));
    for (const [name, content] of Object.entries(files))
      writeFileSync(repoFolder("snapshots", commitOf(7), name), content);
    process.env.HF_HUB_CACHE = context.cacheDir;
    expect(await resolve(model, { offline: true, cacheDir: undefined })).toBe(repoFolder("snapshots", commitOf(7)));
  });
});
