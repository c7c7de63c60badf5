/** The folder of a model that the user names by path or by its id on the Hugging Face hub. Needs Node. */
import { readFile } from "node:fs/promises";
import { PicasoError } from "../errors.js";
import type { HubClient } from "./client.js";
import { fetchFiles } from "./download.js";
import { type HubRepo, shown } from "./reference.js";
import { fileSize, type RepoCache } from "./repo-cache.js";
import { hasFile, lacks, resolveFolder } from "./resolve-folder.js";
import type { HubOptions } from "./settings.js";

const singleFile = "model.safetensors";
const shardIndex = "model.safetensors.index.json";
/** Layouts of weights, the preferred first; only one of them is downloaded. */
const weightLayouts = [singleFile, shardIndex, "pytorch_model.bin"];

/** The index of a model with some hundred shards has less than one. */
const maxIndexBytes = 50 << 20;

/**
 * The folder of a Mamba-2 model, by path or by id on the hub: config.json, tokenizer.json, picaso.json where there is
 * one, and the weights as model.safetensors, else as shards with their index, else as pytorch_model.bin. See
 * {@link resolveFolder} for names, the cache and errors.
 */
export function resolveModelFolder(directoryOrHubId: string, options: HubOptions = {}): Promise<string> {
  return resolveFolder(directoryOrHubId, { fetch: fetchModel, lacking: lackingFile }, options);
}

async function fetchModel(
  client: HubClient,
  cache: RepoCache,
  commit: string,
  files: ReadonlySet<string>,
): Promise<void> {
  const { repo } = client;
  const weights = weightLayouts.find((name) => files.has(name));
  if (!files.has("config.json")) throw lacks(repo, "config.json", "It is no model in Hugging Face layout.");
  if (!weights)
    throw lacks(repo, weightLayouts.join(", "), "Convert its weights to safetensors in a folder of your own.");
  const first = ["config.json", "tokenizer.json", "picaso.json"].filter((name) => files.has(name));
  const hasTokenizer = files.has("tokenizer.json") || (await hasFile(cache, commit, "tokenizer.json"));
  if (!hasTokenizer) throw lacksTokenizer(repo);
  await fetchFiles(client, cache, commit, [...first, weights]);
  if (weights === shardIndex) {
    const shards = await shardNames(cache.file(commit, shardIndex));
    const absent = shards.find((name) => !files.has(name));
    if (absent) throw lacks(repo, shown(absent), `Its ${shardIndex} names that file: the model is incomplete.`);
    await fetchFiles(client, cache, commit, shards);
  }
}

/** The first file that a snapshot lacks to be a complete model; undefined when it lacks none. */
async function lackingFile(cache: RepoCache, commit: string): Promise<string | undefined> {
  const has = (name: string) => hasFile(cache, commit, name);
  for (const name of ["config.json", "tokenizer.json"]) if (!(await has(name))) return name;
  for (const layout of weightLayouts) {
    if (!(await has(layout))) continue;
    const files = layout === shardIndex ? await shardNames(cache.file(commit, layout)) : [];
    for (const name of files) if (!(await has(name))) return name;
    return undefined;
  }
  return singleFile;
}

/** The files that an index of shards names. */
async function shardNames(path: string): Promise<string[]> {
  const size = await fileSize(path);
  let names: unknown[] = [];
  try {
    if (size !== undefined && size <= maxIndexBytes) {
      const { weight_map: map } = JSON.parse(await readFile(path, "utf8")) as { weight_map?: unknown };
      if (typeof map === "object" && map !== null) names = [...new Set(Object.values(map))];
    }
  } catch (cause) {
    if (!(cause instanceof SyntaxError || cause instanceof TypeError)) throw cause;
  }
  const isName = (name: unknown) => typeof name === "string" && /^\w[\w.-]*\.safetensors$/.test(name);
  if (names.length > 0 && names.every(isName)) return names as string[];
  throw new PicasoError("bad-file", {
    where: path,
    expected: "an index of safetensors files: a weight_map from tensors to file names",
    found: "something else",
    next: "Delete the model from the cache and run it again; if it stays so, use another revision of the model.",
  });
}

function lacksTokenizer(repo: HubRepo): PicasoError {
  const how = `Download ${repo.name} into a folder, put the tokenizer.json of its tokenizer beside config.json, and give that folder.`;
  const which =
    "Models in mamba_ssm's own form (state-spaces/mamba2-*) use the GPT-NeoX tokenizer: EleutherAI/gpt-neox-20b.";
  return lacks(repo, "tokenizer.json", `${how} ${which}`);
}
