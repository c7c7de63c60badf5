/** What the tests of model folders do not reach: silence, several processes at once, and files that a killed run left. */
import { execFile } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { promisify } from "node:util";
import { expect, test } from "vitest";
import { HubClient } from "./client.js";
import { HubUnavailable } from "./hub-errors.js";
import { resolveModelFolder } from "./model-folder.js";
import { parseModelId } from "./reference.js";
import { hubSettings } from "./settings.js";
import { blobName, commitOf, type Fault, testHub } from "./test-hub.js";

const context = testHub();
const weights = Buffer.alloc(300_000, "some weights ");
const files = { "config.json": "{}", "tokenizer.json": "{} ", "model.safetensors": weights };
const blob = blobName(weights, true);

function blobs(): string {
  return join(context.cacheDir, "models--org--name", "blobs");
}

/** Sends a part of the body, and the rest when `go` is called. */
function inTwoParts(bytes: number): { fault: Fault; started: Promise<void>; go: () => void } {
  let start = () => {};
  let go = () => {};
  const started = new Promise<void>((resolve) => {
    start = resolve;
  });
  const fault: Fault = (_request, response, body) => {
    response.writeHead(200, { "content-length": String(body!.length) });
    response.write(body!.subarray(0, bytes), start);
    go = () => response.end(body!.subarray(bytes));
  };
  return { fault, started, go: () => go() };
}

/** Two answers of which each waits, half sent, for the other. */
function together(): [Fault, Fault] {
  const parts = [inTwoParts(150_000), inTwoParts(150_000)] as const;
  void Promise.all(parts.map(({ started }) => started)).then(() => {
    for (const { go } of parts) go();
  });
  return [parts[0].fault, parts[1].fault];
}

async function untilSize(path: () => string | undefined, bytes: number): Promise<string> {
  for (;;) {
    const found = path();
    if (found && statSync(found).size === bytes) return found;
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

test("two processes at once both end with the complete model", async () => {
  context.hub.add("models/org/name", files);
  context.hub.fail("large:", ...together());
  const module = pathToFileURL(fileURLToPath(new URL("./model-folder.ts", import.meta.url))).href;
  const code = `import { resolveModelFolder } from ${JSON.stringify(module)};
    console.log(await resolveModelFolder("org/name"));`;
  const env = { ...process.env, HF_ENDPOINT: context.hub.url, HF_HUB_CACHE: context.cacheDir };
  const run = () =>
    promisify(execFile)(process.execPath, ["--import", "tsx", "--input-type=module", "-e", code], { env });
  const results = await Promise.all([run(), run()]);
  for (const { stdout, stderr } of results) {
    expect(stderr).toBe("");
    expect(readFileSync(join(stdout.trim(), "model.safetensors")).equals(weights)).toBe(true);
  }
  expect(context.hub.downloads.filter((line) => line.startsWith("large:"))).toHaveLength(2);
  expect(readdirSync(blobs())).toHaveLength(3);
});

test("two calls at once in one process", async () => {
  context.hub.add("models/org/name", files);
  context.hub.fail("large:", ...together());
  const options = { hubUrl: context.hub.url, cacheDir: context.cacheDir };
  const folders = await Promise.all([resolveModelFolder("org/name", options), resolveModelFolder("org/name", options)]);
  expect(folders[0]).toBe(folders[1]);
  expect(readFileSync(join(folders[0], "model.safetensors")).equals(weights)).toBe(true);
  expect(readdirSync(blobs())).toHaveLength(3);
});

test("a killed run's file is taken over once it is old, and only then", async () => {
  context.hub.add("models/org/name", files);
  mkdirSync(blobs(), { recursive: true });
  const fresh = join(blobs(), `${blob}.0000000a.incomplete`);
  const old = join(blobs(), `${blob}.0000000b.incomplete`);
  writeFileSync(fresh, weights.subarray(0, 200_000));
  writeFileSync(old, weights.subarray(0, 100_000));
  const threeMinutesAgo = Date.now() / 1000 - 180;
  utimesSync(old, threeMinutesAgo, threeMinutesAgo);
  await resolveModelFolder("org/name", { hubUrl: context.hub.url, cacheDir: context.cacheDir });
  const { range } = context.hub.seen.find(({ line }) => line.startsWith("large:"))!;
  expect(range).toBe("bytes=100000-");
  expect(readdirSync(blobs()).filter((name) => name.endsWith(".incomplete"))).toEqual([`${blob}.0000000a.incomplete`]);
});

test("a writer whose file was taken over finds the blob complete", async () => {
  context.hub.add("models/org/name", files);
  const options = { hubUrl: context.hub.url, cacheDir: context.cacheDir };
  const { fault, go } = inTwoParts(100_000);
  context.hub.fail("large:", fault);
  const first = resolveModelFolder("org/name", options);
  const incomplete = () => {
    const name = existsSync(blobs()) ? readdirSync(blobs()).find((entry) => entry.startsWith(`${blob}.`)) : undefined;
    return name && join(blobs(), name);
  };
  // As if the first run had been asleep for long.
  utimesSync(await untilSize(incomplete, 100_000), 0, 0);
  const second = await resolveModelFolder("org/name", options);
  expect(context.hub.seen.at(-1)!.range).toBe("bytes=100000-");
  go();
  expect(await first).toBe(second);
  expect(readFileSync(join(second, "model.safetensors")).equals(weights)).toBe(true);
  expect(readdirSync(blobs())).toHaveLength(3);
});

test("a connection that brings nothing is given up, and may be tried again", async () => {
  const repo = parseModelId("org/name")!;
  const settings = hubSettings({ hubUrl: context.hub.url, cacheDir: context.cacheDir });
  const client = new HubClient(settings, repo, { attempts: 2, firstPauseMs: 1, stallMs: 200 });
  const silent: Fault = () => {};
  const silentAfterHeaders: Fault = (_request, response) => {
    response.writeHead(200, { "content-length": "10" });
    response.write("x");
  };
  context.hub.add("models/org/name", files);
  context.hub.fail("config.json", silent, silentAfterHeaders);
  const url = `${context.hub.url}/org/name/resolve/${commitOf(1)}/config.json`;
  const started = Date.now();
  await expect(client.fetch(url)).rejects.toThrow(/silence for 0.2 s/);
  expect(Date.now() - started).toBeLessThan(5000);
  context.hub.fail("config.json", silent);
  expect(await (await client.fetch(url)).text()).toBe("{}");
});

test("silence is an error that may pass", async () => {
  const repo = parseModelId("org/name")!;
  const client = new HubClient(hubSettings({ hubUrl: context.hub.url }), repo, {
    attempts: 1,
    firstPauseMs: 1,
    stallMs: 50,
  });
  context.hub.fail("x", () => {});
  await expect(client.fetch(`${context.hub.url}/x`)).rejects.toBeInstanceOf(HubUnavailable);
});

test("the caller's signal during the last try is no lack of a connection", async () => {
  const controller = new AbortController();
  const settings = hubSettings({ hubUrl: context.hub.url, signal: controller.signal });
  const client = new HubClient(settings, parseModelId("org/name")!, { attempts: 1, firstPauseMs: 1, stallMs: 5000 });
  context.hub.fail("x", () => controller.abort());
  await expect(client.fetch(`${context.hub.url}/x`)).rejects.toMatchObject({ code: "aborted" });
});

test("the token goes to the hub and to nobody else", async () => {
  process.env.HF_TOKEN = "hf_secret";
  const client = new HubClient(hubSettings({ hubUrl: context.hub.url }), parseModelId("org/name")!);
  context.hub.add("models/org/name", files);
  await client.fetch(`${context.hub.url}/org/name/resolve/${commitOf(1)}/config.json`);
  await client.fetch(`${context.hub.largeUrl}/models/org/name/config.json`);
  expect(context.hub.seen.map(({ authorization }) => authorization)).toEqual(["Bearer hf_secret", undefined]);
});
