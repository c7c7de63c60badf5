/** Embeddings against those of Sentence-Transformers itself (test/fixtures/embedder/make.py), and what is refused. */
import { readFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { afterEach, describe, expect, test } from "vitest";
import { type Changes, changedEmbedder, embedderFolder } from "../../test/support/embedder.js";
import { useScratch } from "../../test/support/scratch.js";
import type { PicasoErrorCode } from "../errors.js";
import { failure } from "../hub/test-hub.js";
import { Embedder } from "./embedder.js";
import type { TextKind } from "./embedder-files.js";
import { type PoolingMode, poolingModes } from "./pooling.js";

type Embeddings = number[][];
type ByMode = Record<PoolingMode, Embeddings>;

const scratch = useScratch();
const expected: { texts: string[]; plain: ByMode; normalized: ByMode; query: Embeddings; document: Embeddings } =
  JSON.parse(await readFile(join(embedderFolder, "expected.json"), "utf8"));
const { texts } = expected;
const [transformer, pooling] = JSON.parse(await readFile(join(embedderFolder, "modules.json"), "utf8"));
const noPrompts = { "config_sentence_transformers.json": null };
const loaded: Embedder[] = [];

afterEach(async () => {
  for (const embedder of loaded.splice(0)) await embedder.dispose();
});

async function load(changes: Changes = {}): Promise<Embedder> {
  const embedder = await Embedder.load(await changedEmbedder(scratch.path("changed"), changes), { threads: 1 });
  loaded.push(embedder);
  return embedder;
}

async function embed(changes: Changes = {}, kind: TextKind = "document"): Promise<Float32Array[]> {
  return (await load(changes)).embed(texts, { kind });
}

function largestDifference(found: readonly Float32Array[], reference: Embeddings): number {
  expect(found.map(({ length }) => length)).toEqual(reference.map(({ length }) => length));
  return Math.max(...found.flatMap((row, i) => Array.from(row, (value, j) => Math.abs(value - reference[i]![j]!))));
}

describe("the same as Sentence-Transformers", () => {
  const oldFields: Record<PoolingMode, string> = {
    cls: "pooling_mode_cls_token",
    max: "pooling_mode_max_tokens",
    mean: "pooling_mode_mean_tokens",
    mean_sqrt_len_tokens: "pooling_mode_mean_sqrt_len_tokens",
    weightedmean: "pooling_mode_weightedmean_tokens",
    lasttoken: "pooling_mode_lasttoken",
  };

  test.each(poolingModes)("pooling by %s, in both forms of its configuration, plain and normalized", async (mode) => {
    const form = { "1_Pooling/config.json": { embedding_dimension: 32, pooling_mode: mode, include_prompt: true } };
    expect(largestDifference(await embed({ ...form, ...noPrompts }), expected.normalized[mode])).toBeLessThan(1e-5);
    const fields = Object.values(oldFields).map((field) => [field, field === oldFields[mode]]);
    const old = { word_embedding_dimension: 32, ...Object.fromEntries(fields) };
    const plain = { "1_Pooling/config.json": old, "modules.json": [transformer, pooling], ...noPrompts };
    expect(largestDifference(await embed(plain), expected.plain[mode])).toBeLessThan(1e-5);
  });

  test("the prompts of queries and documents", async () => {
    expect(largestDifference(await embed({}, "query"), expected.query)).toBeLessThan(1e-5);
    expect(largestDifference(await embed({}, "document"), expected.document)).toBeLessThan(1e-5);
    expect(largestDifference(await embed({}, "document"), expected.query)).toBeGreaterThan(0.01);
  });

  test.each([
    ["passage", { passage: "question: " }, null, "document"],
    ["the default prompt", { other: "question: " }, "other", "document"],
    ["the default prompt", { other: "question: ", document: "" }, "other", "query"],
  ] as const)("%s as prompt of a %s where there is none of its own", async (_, prompts, standard, kind) => {
    const config = { prompts, default_prompt_name: standard };
    const found = await embed({ "config_sentence_transformers.json": config }, kind);
    expect(largestDifference(found, expected.query)).toBeLessThan(1e-5);
  });

  test("a folder with nothing but the transformer: the plain mean, up to the length in config.json", async () => {
    const bare = { "modules.json": null, "1_Pooling/config.json": null, "tokenizer_config.json": null, ...noPrompts };
    const found = await embed(bare);
    const short = texts.flatMap((text, i) => (text.length < 25 ? [i] : []));
    const pick = <T>(rows: readonly T[]) => short.map((i) => rows[i]!);
    expect(largestDifference(pick(found), pick(expected.plain.mean))).toBeLessThan(1e-5);
    const withLimit = await embed({ ...bare, "sentence_bert_config.json": { max_seq_length: 24 } });
    expect(largestDifference(withLimit, expected.plain.mean)).toBeLessThan(1e-5);
  });
});

test("any batch gives the same, in the order given, and progress counts texts", async () => {
  const embedder = await load();
  const many = Array.from({ length: 7 }, () => texts).flat();
  const progress: unknown[] = [];
  const together = await embedder.embed(many, { kind: "query", onProgress: (each) => progress.push(each) });
  for (const [i, text] of many.entries()) {
    const [alone] = await embedder.embed([text], { kind: "query" });
    expect(largestDifference([together[i]!], [Array.from(alone!)])).toBeLessThan(1e-5);
  }
  expect(progress.length).toBeGreaterThan(1);
  expect(progress.at(-1)).toEqual({ done: many.length, total: many.length });
  expect(await embedder.embed([], { kind: "query" })).toEqual([]);
});

test("the end of a text is kept where the tokenizer cuts from the left", async () => {
  const embedder = await load({ "tokenizer_config.json": { model_max_length: 8, truncation_side: "left" } });
  const words = "tower bridge river garden castle market harbour winter summer";
  const [cut, whole] = await embedder.embed([words, words.split(" ").slice(-6).join(" ")], { kind: "document" });
  expect(cut).toEqual(whole);
});

test("the fingerprint is that of the files, wherever they are", async () => {
  const { fingerprint, name } = await load();
  const other = await Embedder.load(embedderFolder, { threads: 1 });
  loaded.push(other);
  expect(other.fingerprint).toBe(fingerprint);
  expect([name, other.name]).toEqual(["changed", basename(embedderFolder)]);
  const cls = { "1_Pooling/config.json": { pooling_mode: "cls", embedding_dimension: 32 } };
  expect((await load(cls)).fingerprint).not.toBe(fingerprint);
});

test("stops at the caller's signal, and refuses work once disposed", async () => {
  const embedder = await load();
  const signal = AbortSignal.abort();
  expect((await failure(embedder.embed(["a"], { kind: "query", signal }))).code).toBe("aborted");
  await embedder.dispose();
  expect((await failure(embedder.embed(["a"], { kind: "query" }))).code).toBe("bad-argument");
});

const graph = await readFile(join(embedderFolder, "onnx", "model.onnx"));

/** The graph with a name in it replaced by another of the same length. */
function renamed(from: string, to: string): Uint8Array {
  return Buffer.from(graph.toString("latin1").replaceAll(from, to), "latin1");
}

const config = JSON.parse(await readFile(join(embedderFolder, "config.json"), "utf8"));
const poolingFile = "1_Pooling/config.json";

test.each<[name: string, changes: Changes, code: PicasoErrorCode, ...mentions: string[]]>([
  ["without config.json", { "config.json": null }, "not-found", "config.json"],
  ["without tokenizer.json", { "tokenizer.json": null }, "not-found", "tokenizer.json"],
  ["without a graph", { "onnx/model.onnx": null }, "not-found", "model.onnx", "ONNX export"],
  ["without the pooling that it names", { [poolingFile]: null }, "not-found", "1_Pooling"],
  ["with a graph that is none", { "onnx/model.onnx": Buffer.from("graph") }, "bad-file", "model.onnx"],
  ["with a graph cut off", { "onnx/model.onnx": graph.subarray(0, 60_000) }, "bad-file", "model.onnx"],
  [
    "with an unknown input",
    { "onnx/model.onnx": renamed("token_type_ids", "image_features") },
    "unsupported",
    "inputs",
  ],
  ["without a mask", { "onnx/model.onnx": renamed("attention_mask", "attention_bias") }, "unsupported", "inputs"],
  ["with another output", { "onnx/model.onnx": renamed("last_hidden_state", "sentence_embedded") }, "unsupported"],
  ["with another dimension", { [poolingFile]: { embedding_dimension: 48, pooling_mode: "mean" } }, "mismatch", "48"],
  ["with two poolings", { [poolingFile]: { pooling_mode: ["mean", "cls"] } }, "unsupported", '["mean", "cls"]'],
  ["with an unknown pooling", { [poolingFile]: { pooling_mode: "median" } }, "unsupported", "median"],
  ["with a pooling that is no object", { [poolingFile]: [1] }, "bad-file", "1_Pooling"],
  ["with a dense module", { "modules.json": [transformer, pooling, { type: "m.Dense", path: "2" }] }, "unsupported"],
  ["with no pooling module", { "modules.json": [transformer] }, "unsupported", "modules.json"],
  ["with a path out of it", { "modules.json": [transformer, { ...pooling, path: "../x" }] }, "bad-file", "../x"],
  ["with a small vocabulary", { "config.json": { ...config, vocab_size: 100 } }, "bad-file", "169"],
  ["with no vocabulary size", { "config.json": { hidden_size: 32 } }, "bad-file", "vocab_size"],
  ["with no room for a text", { "sentence_bert_config.json": { max_seq_length: 2 } }, "bad-file", "max_seq_length"],
  ["with a length that is none", { "sentence_bert_config.json": { max_seq_length: "all" } }, "bad-file", '"all"'],
  [
    "with no length at all",
    { "tokenizer_config.json": { model_max_length: 1e30 }, "config.json": { ...config, max_position_embeddings: -1 } },
    "bad-file",
    "max_seq_length",
  ],
  ["with longer texts than positions", { "sentence_bert_config.json": { max_seq_length: 99 } }, "bad-file", "99", "64"],
  [
    "that leaves its prompt out of the mean",
    { [poolingFile]: { pooling_mode: "mean", include_prompt: false } },
    "unsupported",
    "include_prompt",
  ],
  ["with a prompt that is none", { "config_sentence_transformers.json": { prompts: { query: 1 } } }, "bad-file"],
  ["with prompts that are none", { "config_sentence_transformers.json": { prompts: [] } }, "bad-file", "prompts"],
])("a folder %s is refused", async (_, changes, code, ...mentions) => {
  const long = "the tower and the bridge ".repeat(20);
  const error = await failure(load(changes).then((embedder) => embedder.embed([long], { kind: "query" })));
  expect(error.code).toBe(code);
  for (const mention of mentions) expect(error.message).toContain(mention);
  expect(error.message.length).toBeLessThan(1000);
});
