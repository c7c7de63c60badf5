/** The folder of a model that the user names by path or by its id on the Hugging Face hub. Needs Node. */
import { readFile, stat } from "node:fs/promises";
import { PicasoError } from "../errors.js";
import { briefPatience, HubClient } from "./client.js";
import { fetchFiles } from "./download.js";
import { HubUnavailable } from "./hub-errors.js";
import { type HubRepo, namesNothing, parseModelId, repoLabel, shown } from "./reference.js";
import { fileSize, RepoCache } from "./repo-cache.js";
import { findRepo } from "./repository.js";
import { type HubOptions, hubSettings } from "./settings.js";

const singleFile = "model.safetensors";
const shardIndex = "model.safetensors.index.json";
/** Layouts of weights, the preferred first; only one of them is downloaded. */
const weightLayouts = [singleFile, shardIndex, "pytorch_model.bin"];

/** The index of a model with some hundred shards has less than one. */
const maxIndexBytes = 50 << 20;

/**
 * The folder of a model: an existing folder is returned as it is; `org/name` or `org/name@revision` is looked up on
 * the hub, and what the cache lacks of it is downloaded: config.json, tokenizer.json, picaso.json where there is one,
 * and the weights as model.safetensors, else as shards with their index, else as pytorch_model.bin.
 *
 * Offline, and when the hub cannot be reached, a complete copy in the cache is used: of a branch or tag, the commit it
 * stood for when last downloaded. Throws `not-found` (no such folder, model, revision or file, or offline and not in
 * the cache), `failed` (no leave, no connection, no disk space), `bad-file` (size or hash of a download is wrong),
 * `bad-argument` (revision, HF_TOKEN, HF_ENDPOINT) or `aborted`.
 */
export async function resolveModelFolder(directoryOrHubId: string, options: HubOptions = {}): Promise<string> {
  if (await isFolder(directoryOrHubId)) return directoryOrHubId;
  const repo = parseModelId(directoryOrHubId, options.revision);
  if (!repo) throw neitherFolderNorId(directoryOrHubId);
  const settings = hubSettings(options);
  const cache = new RepoCache(settings.cacheDir, repo);
  const commit = await cache.lastCommit();
  const lacking = commit ? await lackingFile(cache, commit) : undefined;
  const cached = commit && !lacking ? cache.snapshot(commit) : undefined;
  if (settings.offline) {
    if (cached) return cached;
    throw notCached(repo, settings.cacheDir, lacking);
  }
  try {
    const lookup = new HubClient(settings, repo, cached ? briefPatience : undefined);
    return await download(new HubClient(settings, repo), lookup, cache);
  } catch (error) {
    if (cached && error instanceof HubUnavailable) return cached;
    throw error;
  }
}

async function download(client: HubClient, lookup: HubClient, cache: RepoCache): Promise<string> {
  const { repo } = client;
  const { commit, files } = await findRepo(lookup);
  const weights = weightLayouts.find((name) => files.has(name));
  if (!files.has("config.json")) throw lacks(repo, "config.json", "It is no model in Hugging Face layout.");
  if (!weights)
    throw lacks(repo, weightLayouts.join(", "), "Convert its weights to safetensors in a folder of your own.");
  const first = ["config.json", "tokenizer.json", "picaso.json"].filter((name) => files.has(name));
  const hasTokenizer =
    files.has("tokenizer.json") || (await fileSize(cache.file(commit, "tokenizer.json"))) !== undefined;
  if (!hasTokenizer) throw lacksTokenizer(repo);
  await fetchFiles(client, cache, commit, [...first, weights]);
  if (weights === shardIndex) {
    const shards = await shardNames(cache.file(commit, shardIndex));
    const absent = shards.find((name) => !files.has(name));
    if (absent) throw lacks(repo, shown(absent), `Its ${shardIndex} names that file: the model is incomplete.`);
    await fetchFiles(client, cache, commit, shards);
  }
  await cache.noteCommit(commit);
  return cache.snapshot(commit);
}

/** The first file that a snapshot lacks to be a complete model; undefined when it lacks none. */
async function lackingFile(cache: RepoCache, commit: string): Promise<string | undefined> {
  const has = async (name: string) => (await fileSize(cache.file(commit, name))) !== undefined;
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

async function isFolder(path: string): Promise<boolean> {
  const information = await stat(path).catch((cause: NodeJS.ErrnoException) => {
    if (namesNothing(cause)) return undefined;
    const next = "Check its permissions.";
    throw new PicasoError("failed", { where: path, expected: "a readable folder", found: cause.message, next, cause });
  });
  if (!information || information.isDirectory()) return information !== undefined;
  throw new PicasoError("bad-argument", {
    where: path,
    expected: "the folder of a model",
    found: "a file",
    next: "Give the folder that it is in.",
  });
}

function neitherFolderNorId(text: string): PicasoError {
  return new PicasoError("not-found", {
    where: text === "" ? "model" : shown(text),
    expected: "the path of a model folder, or a model's id on the Hugging Face hub (org/name or org/name@revision)",
    found: "neither: no folder of this name, and not the form of an id",
    next: "Check the path, or write the id as it stands on the model's page.",
  });
}

function notCached(repo: HubRepo, cacheDir: string, lacking: string | undefined): PicasoError {
  return new PicasoError("not-found", {
    where: shown(repo.given),
    expected: `a model folder, or ${repoLabel(repo)} in the cache ${cacheDir}`,
    found: `no folder of this name, and ${lacking ? `a copy in the cache that lacks ${lacking}` : "no copy in the cache"}`,
    next: "Run it once without --offline (and without HF_HUB_OFFLINE) to download it, or give the path of a model folder.",
  });
}

function lacks(repo: HubRepo, name: string, next: string): PicasoError {
  return new PicasoError("not-found", { where: repoLabel(repo), expected: name, found: "no such file", next });
}

function lacksTokenizer(repo: HubRepo): PicasoError {
  const how = `Download ${repo.name} into a folder, put the tokenizer.json of its tokenizer beside config.json, and give that folder.`;
  const which =
    "Models in mamba_ssm's own form (state-spaces/mamba2-*) use the GPT-NeoX tokenizer: EleutherAI/gpt-neox-20b.";
  return lacks(repo, "tokenizer.json", `${how} ${which}`);
}
