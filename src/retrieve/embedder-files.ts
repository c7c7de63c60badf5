/** What the files of a Sentence-Transformers model folder say: where its graph is, and how texts become embeddings. */
import { join, resolve } from "node:path";
import { PicasoError } from "../errors.js";
import { onnxFiles, weightSuffixes } from "../hub/embedder-folder.js";
import { isFilePath } from "../hub/reference.js";
import { fileStats, readText } from "../model/checkpoint/text-file.js";
import { parsePythonJson } from "../model/config.js";
import { describeJson } from "../model/json.js";
import { Tokenizer } from "../model/tokenizer.js";
import { type PoolingMode, poolingModes } from "./pooling.js";

/** What a text is to a search; models may put different prompts before the two. */
export type TextKind = "query" | "document";

export interface EmbedderSettings {
  pooling: PoolingMode;
  /** Whether embeddings are scaled to length 1. */
  normalize: boolean;
  /** Most tokens of a text, special ones counted; the others are cut off. */
  maxTokens: number;
  truncationSide: "left" | "right";
  /** Put before texts. */
  prompts: Record<TextKind, string>;
  /** Length of the token vectors, where a file states it. */
  width: number | undefined;
  paddingId: number;
}

export interface EmbedderFiles {
  settings: EmbedderSettings;
  tokenizer: Tokenizer;
  /** The graph first, then files with its weights. */
  onnxFiles: string[];
  tokenizerFile: string;
}

type Json = Record<string, unknown>;

/** Sizes above these are taken for damage. */
const limits = { tokens: 1 << 20, vocabulary: 1 << 24, width: 1 << 16 };

/** Pooling modes in the files of Sentence-Transformers before version 6: one field each. */
const oldPoolingFields: Record<string, PoolingMode> = {
  pooling_mode_cls_token: "cls",
  pooling_mode_max_tokens: "max",
  pooling_mode_mean_tokens: "mean",
  pooling_mode_mean_sqrt_len_tokens: "mean_sqrt_len_tokens",
  pooling_mode_weightedmean_tokens: "weightedmean",
  pooling_mode_lasttoken: "lasttoken",
};

/** Throws `not-found`, `bad-file` or `unsupported`. */
export async function readEmbedderFiles(directory: string): Promise<EmbedderFiles> {
  const folder = resolve(directory);
  const file = (name: string) => join(folder, ...name.split("/"));
  const configFile = file("config.json");
  const config = await readNeeded(configFile);
  const present = await Promise.all(onnxFiles.map(async (name) => ((await fileStats(file(name))) ? [file(name)] : [])));
  const [graph] = present.flat();
  if (!graph) throw absent(file(onnxFiles[0]!), "an ONNX export of the model, there or as model.onnx");
  const weights: string[] = [];
  for (const suffix of weightSuffixes) if (await fileStats(graph + suffix)) weights.push(graph + suffix);
  const tokenizerFile = file("tokenizer.json");
  if (!(await fileStats(tokenizerFile))) throw absent(tokenizerFile, "tokenizer.json beside config.json");
  const vocabulary = wholeNumber(config, "vocab_size", configFile, limits.vocabulary);
  if (vocabulary === undefined) throw bad(`${configFile}, vocab_size`, "a whole number", "nothing");
  const tokenizer = await Tokenizer.load(tokenizerFile, vocabulary);
  const { pooling, width, normalize, includePrompt } = await readModules(folder);
  const prompts = await readPrompts(file("config_sentence_transformers.json"));
  if (!includePrompt && (prompts.query || prompts.document)) {
    throw unsupported(`${folder}, include_prompt`, "pooling over prompt and text", "a prompt that is left out of it");
  }
  const tokenizerConfig = (await readOptional(file("tokenizer_config.json"))) ?? {};
  const settings: EmbedderSettings = {
    ...{ pooling, normalize, prompts },
    maxTokens: await readMaxTokens(folder, config, tokenizerConfig, tokenizer),
    truncationSide: tokenizerConfig.truncation_side === "left" ? "left" : "right",
    width: width ?? wholeNumber(config, "hidden_size", configFile, limits.width),
    paddingId: wholeNumber(config, "pad_token_id", configFile, vocabulary - 1, 0) ?? 0,
  };
  return { settings, tokenizer, onnxFiles: [graph, ...weights], tokenizerFile };
}

interface Modules {
  pooling: PoolingMode;
  width: number | undefined;
  normalize: boolean;
  /** Whether a prompt's tokens take part in pooling. */
  includePrompt: boolean;
}

/** A folder without modules.json is a plain transformer: pooled as 1_Pooling says, else by the mean. */
async function readModules(folder: string): Promise<Modules> {
  const path = join(folder, "modules.json");
  const listed = (await fileStats(path)) ? await readJson(path) : undefined;
  if (listed === undefined) {
    const poolingFile = join(folder, "1_Pooling", "config.json");
    return { ...readPooling((await readOptional(poolingFile)) ?? {}, poolingFile), normalize: false };
  }
  const modules = Array.isArray(listed) ? listed.filter(isObject).map(({ type, path }) => ({ type, path })) : [];
  const kinds = modules.map(({ type }) => (typeof type === "string" ? type.split(".").at(-1) : undefined));
  const isKnown = kinds.length <= 3 && kinds[2] !== "Pooling" && (kinds.length < 3 || kinds[2] === "Normalize");
  if (kinds[0] !== "Transformer" || modules[0]?.path !== "" || kinds[1] !== "Pooling" || !isKnown) {
    throw unsupported(path, "Transformer (in the folder itself), Pooling and perhaps Normalize", describeJson(kinds));
  }
  const poolingPath = modules[1]?.path;
  if (typeof poolingPath !== "string" || !isFilePath(poolingPath)) {
    throw bad(`${path}, path of Pooling`, "a folder beside this file", describeJson(poolingPath));
  }
  const poolingFile = join(folder, poolingPath, "config.json");
  return { ...readPooling(await readNeeded(poolingFile), poolingFile), normalize: kinds.includes("Normalize") };
}

function readPooling(config: Json, where: string): Omit<Modules, "normalize"> {
  const modes = "pooling_mode" in config ? [config.pooling_mode].flat() : oldModes(config);
  const known = poolingModes.find((mode) => mode === modes[0]);
  if (!known || modes.length > 1) {
    throw unsupported(`${where}, pooling mode`, `one of ${poolingModes.join(", ")}`, describeJson(modes));
  }
  const width =
    wholeNumber(config, "embedding_dimension", where, limits.width) ??
    wholeNumber(config, "word_embedding_dimension", where, limits.width);
  return { pooling: known, width, includePrompt: config.include_prompt !== false };
}

function oldModes(config: Json): PoolingMode[] {
  const modes = Object.entries(oldPoolingFields).flatMap(([field, mode]) => (config[field] === true ? [mode] : []));
  return modes.length > 0 ? modes : ["mean"];
}

/** As encode_query and encode_document choose them. */
async function readPrompts(path: string): Promise<Record<TextKind, string>> {
  const { prompts = {}, default_prompt_name: standard } = (await readOptional(path)) ?? {};
  if (!isObject(prompts)) throw bad(`${path}, prompts`, "prompts by name", describeJson(prompts));
  const choose = (names: string[]) => {
    const name = names.find((each) => Object.hasOwn(prompts, each));
    const prompt = name !== undefined ? (prompts[name] ?? "") : "";
    if (typeof prompt !== "string") throw bad(`${path}, prompt ${name}`, "text", describeJson(prompt));
    return prompt;
  };
  const last = typeof standard === "string" ? [standard] : [];
  return {
    query: choose(["query", ...last]),
    document: choose(["document", "passage", "corpus", ...last]),
  };
}

async function readMaxTokens(
  folder: string,
  config: Json,
  tokenizerConfig: Json,
  tokenizer: Tokenizer,
): Promise<number> {
  const path = join(folder, "sentence_bert_config.json");
  const own = (await readOptional(path)) ?? {};
  if (own.do_lower_case === true && `${tokenizer.encode("A")}` !== `${tokenizer.encode("a")}`) {
    throw unsupported(`${path}, do_lower_case`, "a tokenizer.json that lower-cases by itself", "one that does not");
  }
  // Both may hold a number that means none: 1e30, -1.
  const isLimit = (value: unknown): value is number => Number.isInteger(value) && Number(value) > 0;
  const [positions = Number.POSITIVE_INFINITY] = [config.max_position_embeddings].filter(isLimit);
  const stated = wholeNumber(own, "max_seq_length", path, limits.tokens);
  if (stated !== undefined && stated <= positions) return stated;
  if (stated !== undefined)
    throw bad(`${path}, max_seq_length`, `at most ${positions}, as in config.json`, `${stated}`);
  const least = Math.min(positions, ...[tokenizerConfig.model_max_length].filter(isLimit));
  if (least <= limits.tokens) return least;
  throw bad(path, "the longest text that the model takes, as max_seq_length", "none, here or in the other files");
}

async function readNeeded(path: string): Promise<Json> {
  const value = await readOptional(path);
  if (value) return value;
  throw absent(path, "a file of a Sentence-Transformers model");
}

async function readOptional(path: string): Promise<Json | undefined> {
  if (!(await fileStats(path))) return undefined;
  const value = await readJson(path);
  if (isObject(value)) return value;
  throw bad(path, "a JSON object", describeJson(value));
}

async function readJson(path: string): Promise<unknown> {
  return parsePythonJson(await readText(path, "a file of a Sentence-Transformers model", "config"), path);
}

/** A field that may be absent or null. */
function wholeNumber(object: Json, key: string, where: string, most: number, least = 1): number | undefined {
  const value = object[key] ?? undefined;
  if (value === undefined) return undefined;
  if (typeof value === "number" && Number.isInteger(value) && value >= least && value <= most) return value;
  throw bad(`${where}, ${key}`, `a whole number from ${least} to ${most}`, describeJson(value));
}

function isObject(value: unknown): value is Json {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function absent(where: string, expected: string): PicasoError {
  const next = "Give the folder of a Sentence-Transformers model with config.json, tokenizer.json and onnx/model.onnx.";
  return new PicasoError("not-found", { where, expected, found: "no such file", next });
}

function bad(where: string, expected: string, found: string): PicasoError {
  const next = "Check that the file belongs to this model and is complete.";
  return new PicasoError("bad-file", { where, expected, found, next });
}

function unsupported(where: string, expected: string, found: string): PicasoError {
  return new PicasoError("unsupported", { where, expected, found, next: "Use another embedding model." });
}
