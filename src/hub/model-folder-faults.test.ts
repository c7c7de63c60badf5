/** What a hub or the way to it can do wrong while a model is downloaded. */
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test, vi } from "vitest";
import { resolveModelFolder } from "./model-folder.js";
import type { HubOptions } from "./settings.js";
import { blobName, commitOf, cutAfter, failure, sendContent, status, testHub } from "./test-hub.js";

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

/** Everything that a finished download may leave in blobs/ is a complete blob. */
function expectOnlyBlobs(count: number): void {
  const names = readdirSync(repoFolder("blobs"));
  expect(names).toHaveLength(count);
  for (const name of names) expect(name).toMatch(/^([0-9a-f]{40}|[0-9a-f]{64})$/);
}

describe("refusals", () => {
  test("404 names both readings and is not tried again", async () => {
    const error = await failure(resolve(model));
    expect(error.code).toBe("not-found");
    expect(error.message).toMatch(/no folder of this name.*404/s);
    expect(context.hub.seen).toHaveLength(1);
  });

  test("an unknown revision", async () => {
    context.hub.add(key, files);
    const error = await failure(resolve(`${model}@v9`));
    expect(error.code).toBe("not-found");
    expect(error.message).toMatch(/revision v9/);
  });

  test("a gated model names HF_TOKEN, which then opens it", async () => {
    context.hub.add(key, files, { token: "hf_secret" });
    const error = await failure(resolve(model));
    expect(error.code).toBe("failed");
    expect(error.message).toMatch(/401.*terms.*HF_TOKEN/s);
    expect(context.hub.seen).toHaveLength(1);
    process.env.HF_TOKEN = " hf_wrong\n";
    const wrong = await failure(resolve(model));
    expect(wrong.message).toMatch(/account that HF_TOKEN belongs to/);
    expect(wrong.message).not.toMatch(/hf_wrong/);
    process.env.HF_TOKEN = "hf_secret";
    await resolve(model);
    const large = context.hub.seen.filter(({ line }) => line.startsWith("large:"));
    expect(large).toHaveLength(1);
    expect(large[0]!.authorization).toBeUndefined();
  });

  test("401 without a word of gating may be a private or a missing repository", async () => {
    context.hub.fail("/revision/", status(401));
    const error = await failure(resolve(model));
    expect(error.code).toBe("not-found");
    expect(error.message).toMatch(/HF_TOKEN/);
  });

  test("settings that cannot be used", async () => {
    process.env.HF_TOKEN = "two words";
    expect((await failure(resolve(model))).code).toBe("bad-argument");
    delete process.env.HF_TOKEN;
    expect((await failure(resolve(model, { hubUrl: "ftp://hub" }))).message).toMatch(/HF_ENDPOINT/);
  });
});

describe("transient faults", () => {
  test("503 twice, then fine", async () => {
    context.hub.add(key, files);
    context.hub.fail("/revision/", status(503), status(503));
    context.hub.fail("large:", status(503, { "retry-after": "0" }), status(500, { "retry-after": "0" }));
    expect(readFileSync(join(await resolve(model), "model.safetensors"))).toEqual(weights);
  });

  test("tries are bounded", async () => {
    context.hub.add(key, files);
    context.hub.fail("/revision/", ...Array.from({ length: 9 }, () => status(503, { "retry-after": "0" })));
    const error = await failure(resolve(model));
    expect(error.code).toBe("failed");
    expect(error.message).toMatch(/503/);
    expect(context.hub.seen).toHaveLength(4);
  });

  test("a hub that asks for a long rest is not waited for", async () => {
    context.hub.fail("/revision/", status(429, { "retry-after": "3600" }));
    expect((await failure(resolve(model))).message).toMatch(/429/);
  });

  test("an incomplete answer about the repository is asked for again", async () => {
    context.hub.add(key, files);
    context.hub.fail("/revision/", (_, response) => {
      response.writeHead(200, { "content-length": "500" });
      response.write("{", () => response.destroy());
    });
    await resolve(model);
  });

  test("a cut connection goes on where it stopped", async () => {
    context.hub.add(key, files);
    context.hub.fail("large:model.safetensors", cutAfter(2000), cutAfter(1500));
    const folder = await resolve(model);
    expect(readFileSync(join(folder, "model.safetensors"))).toEqual(weights);
    const ranges = context.hub.seen.filter(({ line }) => line.startsWith("large:")).map(({ range }) => range);
    expect(ranges).toEqual([undefined, "bytes=2000-", "bytes=3500-"]);
    expectOnlyBlobs(3);
  });

  test("a server without ranges sends the whole file again", async () => {
    context.hub.add(key, files);
    context.hub.fail("large:", cutAfter(2000), (_, response, body) => response.writeHead(200).end(body));
    expect(readFileSync(join(await resolve(model), "model.safetensors"))).toEqual(weights);
  });

  test("a server that sends another range is not believed", async () => {
    context.hub.add(key, files);
    context.hub.fail("large:", cutAfter(2000), (_, response, body) =>
      response.writeHead(206, { "content-range": "bytes 1000-4999/5000" }).end(body!.subarray(1000)),
    );
    expect(readFileSync(join(await resolve(model), "model.safetensors"))).toEqual(weights);
  });
});

describe("interrupted and wrong downloads", () => {
  test("a later run goes on where this one gave up", async () => {
    context.hub.add(key, files);
    context.hub.fail("large:", cutAfter(3000), ...Array.from({ length: 3 }, () => cutAfter(0)));
    expect((await failure(resolve(model))).code).toBe("failed");
    expect(readdirSync(repoFolder("blobs")).filter((name) => name.endsWith(".incomplete"))).toHaveLength(1);
    expect(readdirSync(repoFolder("snapshots", commitOf(1)))).not.toContain("model.safetensors");
    context.hub.seen.length = 0;
    const folder = await resolve(model);
    expect(context.hub.seen.filter(({ line }) => line.startsWith("large:")).map(({ range }) => range)).toEqual([
      "bytes=3000-",
    ]);
    expect(readFileSync(join(folder, "model.safetensors"))).toEqual(weights);
    expectOnlyBlobs(3);
  });

  test("the caller's signal stops it and keeps what is there", async () => {
    context.hub.add(key, files);
    const controller = new AbortController();
    context.hub.fail("large:", (_, response, body) => {
      response.writeHead(200, { "content-length": "5000" });
      response.write(body!.subarray(0, 1234), () => setTimeout(() => controller.abort(), 300));
    });
    const error = await failure(resolve(model, { signal: controller.signal }));
    expect(error.code).toBe("aborted");
    context.hub.seen.length = 0;
    await resolve(model);
    expect(context.hub.seen.find(({ line }) => line.startsWith("large:"))!.range).toBe("bytes=1234-");
    expect((await failure(resolve("org/other", { signal: controller.signal }))).code).toBe("aborted");
  });

  test("an error of the caller's own reaches the caller, and is no reason to try again", async () => {
    context.hub.add(key, files);
    const onProgress = () => {
      throw new RangeError("the caller's own");
    };
    await expect(resolve(model, { onProgress })).rejects.toThrow("the caller's own");
    expect(context.hub.downloads).toEqual([]);
  });

  test("content with another hash is refused and not kept", async () => {
    context.hub.add(key, files);
    const other = Buffer.from(weights);
    other[4321] = 1;
    context.hub.fail("large:", (request, response) => sendContent(request, response, other));
    const error = await failure(resolve(model));
    expect(error.code).toBe("bad-file");
    expect(error.message).toMatch(/model\.safetensors.*hash/s);
    expectOnlyBlobs(2);
    context.hub.fail("/config.json", (request, response) => sendContent(request, response, Buffer.from("{}")));
    await resolve(model);
  });

  test("a small file's hash is checked too", async () => {
    context.hub.add(key, files);
    const other = Buffer.from(files["config.json"].replace("mamba2", "mamba1"));
    context.hub.fail("/config.json", (request, response) => sendContent(request, response, other));
    expect((await failure(resolve(model))).message).toMatch(/config\.json.*hash/s);
  });

  test("more bytes than announced are refused as soon as they come", async () => {
    context.hub.add(key, files);
    context.hub.fail("large:", (_, response) => response.writeHead(200).end(Buffer.alloc(9000)));
    expect((await failure(resolve(model))).message).toMatch(/5000 bytes.*found more bytes/s);
  });

  test("a damaged rest of an earlier run costs one more download, not the result", async () => {
    context.hub.add(key, files);
    const other = Buffer.from(weights);
    other[10] = 1;
    const failing = Array.from({ length: 3 }, () => cutAfter(0));
    context.hub.fail("large:", (request, response) => cutAfter(3000)(request, response, other), ...failing);
    await failure(resolve(model));
    const folder = await resolve(model);
    expect(readFileSync(join(folder, "model.safetensors"))).toEqual(weights);
    expectOnlyBlobs(3);
  });

  test("a blob of the wrong size is replaced", async () => {
    context.hub.add(key, files);
    mkdirSync(repoFolder("blobs"), { recursive: true });
    writeFileSync(repoFolder("blobs", blobName(weights, true)), "cut off");
    expect(readFileSync(join(await resolve(model), "model.safetensors"))).toEqual(weights);
  });

  test("a cache folder that cannot be written", async () => {
    context.hub.add(key, files);
    const blocked = join(context.cacheDir, "file");
    writeFileSync(blocked, "");
    const error = await failure(resolve(model, { cacheDir: blocked }));
    expect(error.code).toBe("failed");
    expect(error.message).toMatch(/HF_HUB_CACHE/);
  });
});
