import { readdirSync } from "node:fs";
import { expect, test } from "vitest";
import { resolveEmbedderFolder } from "./embedder-folder.js";
import type { HubOptions } from "./settings.js";
import { failure, testHub } from "./test-hub.js";

const context = testHub();
const files = {
  "config.json": "{}",
  "tokenizer.json": "{}",
  "modules.json": "[]",
  "sentence_bert_config.json": "{}",
  "config_sentence_transformers.json": "{}",
  "tokenizer_config.json": "{}",
  "1_Pooling/config.json": "{}",
  "onnx/model.onnx": Buffer.alloc(5000, "graph "),
};

function resolve(options: HubOptions = {}): Promise<string> {
  return resolveEmbedderFolder("org/embedder", { hubUrl: context.hub.url, cacheDir: context.cacheDir, ...options });
}

function filesIn(folder: string): string[] {
  const entries = readdirSync(folder, { recursive: true, withFileTypes: true });
  return entries.filter((entry) => !entry.isDirectory()).map(({ parentPath, name }) => `${parentPath}/${name}`);
}

test("brings the graph, the tokenizer and all that says how to pool, and nothing else", async () => {
  context.hub.add("models/org/embedder", {
    ...files,
    "onnx/model_quantized.onnx": Buffer.alloc(3000),
    "model.safetensors": Buffer.alloc(3000),
    "openvino/openvino_model.xml": "xml",
    "README.md": "read me",
  });
  const folder = await resolve();
  const wanted = Object.keys(files).map((name) => `${folder}/${name}`);
  expect(filesIn(folder).sort()).toEqual(wanted.sort());
  context.hub.seen.length = 0;
  expect(await resolve({ offline: true })).toBe(folder);
  expect(context.hub.seen).toEqual([]);
});

test("a graph at the top, with its weights beside it", async () => {
  const { "onnx/model.onnx": graph, "config.json": config, "tokenizer.json": tokenizer } = files;
  const top = { "model.onnx": graph, "model.onnx_data": graph, "config.json": config, "tokenizer.json": tokenizer };
  context.hub.add("models/org/embedder", top);
  const folder = await resolve();
  expect(filesIn(folder).sort()).toEqual(
    Object.keys(top)
      .map((name) => `${folder}/${name}`)
      .sort(),
  );
});

test.each(["onnx/model.onnx", "config.json", "tokenizer.json"])("a repository without %s is refused", async (name) => {
  const rest = Object.fromEntries(Object.entries(files).filter(([each]) => each !== name));
  context.hub.add("models/org/embedder", rest);
  const error = await failure(resolve());
  expect(error.code).toBe("not-found");
  expect(error.message).toContain(name);
  expect(context.hub.downloads).toEqual([]);
  const offline = await failure(resolve({ offline: true }));
  expect(offline.code).toBe("not-found");
});
