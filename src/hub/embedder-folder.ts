/** The folder of a Sentence-Transformers model that the user names by path or by its id on the hub. Needs Node. */
import type { HubClient } from "./client.js";
import { fetchFiles } from "./download.js";
import type { RepoCache } from "./repo-cache.js";
import { hasFile, lacks, resolveFolder } from "./resolve-folder.js";
import type { HubOptions } from "./settings.js";

/** Where a model's graph stands, the preferred place first. */
export const onnxFiles = ["onnx/model.onnx", "model.onnx"];

/** Names of a file beside the graph that holds its weights, where they are too large for the graph itself. */
export const weightSuffixes = ["_data", ".data"];

const needed = ["config.json", "tokenizer.json"];

const optional = [
  "modules.json",
  "sentence_bert_config.json",
  "tokenizer_config.json",
  "config_sentence_transformers.json",
];

/**
 * The folder of a Sentence-Transformers model, by path or by id on the hub: config.json, tokenizer.json, the ONNX graph
 * in full precision, and what there is of the files that say how its outputs become an embedding. See
 * {@link resolveFolder} for names, the cache and errors.
 */
export function resolveEmbedderFolder(directoryOrHubId: string, options: HubOptions = {}): Promise<string> {
  return resolveFolder(directoryOrHubId, { fetch: fetchEmbedder, lacking: lackingFile }, options);
}

async function fetchEmbedder(
  client: HubClient,
  cache: RepoCache,
  commit: string,
  files: ReadonlySet<string>,
): Promise<void> {
  const onnx = onnxFiles.find((name) => files.has(name));
  if (!onnx) {
    const next = "Export it to ONNX into a folder of your own, or use a model whose repository has an ONNX export.";
    throw lacks(client.repo, onnxFiles.join(" or "), next);
  }
  const absent = needed.find((name) => !files.has(name));
  if (absent) throw lacks(client.repo, absent, "It is no Sentence-Transformers model in Hugging Face layout.");
  const weights = weightSuffixes.map((suffix) => `${onnx}${suffix}`);
  const pooling = [...files].filter((name) => /^\w+_Pooling\/config\.json$/.test(name));
  const others = [...optional, ...weights].filter((name) => files.has(name));
  await fetchFiles(client, cache, commit, [...needed, ...others, ...pooling, onnx]);
}

async function lackingFile(cache: RepoCache, commit: string): Promise<string | undefined> {
  for (const name of needed) if (!(await hasFile(cache, commit, name))) return name;
  for (const name of onnxFiles) if (await hasFile(cache, commit, name)) return undefined;
  return onnxFiles[0];
}
