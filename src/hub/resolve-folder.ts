/** A folder of files that the user names by path or by the id of a model on the Hugging Face hub. Needs Node. */
import { stat } from "node:fs/promises";
import { PicasoError } from "../errors.js";
import { briefPatience, HubClient } from "./client.js";
import { HubUnavailable } from "./hub-errors.js";
import { type HubRepo, namesNothing, parseModelId, repoLabel, shown } from "./reference.js";
import { fileSize, RepoCache } from "./repo-cache.js";
import { findRepo } from "./repository.js";
import { type HubOptions, hubSettings } from "./settings.js";

/** Which files of a repository are wanted. */
export interface FolderKind {
  /** Downloads those that the snapshot of `commit` lacks; `files` are the repository's paths. */
  fetch(client: HubClient, cache: RepoCache, commit: string, files: ReadonlySet<string>): Promise<void>;
  /** The first file without which a snapshot is incomplete; undefined when it lacks none. */
  lacking(cache: RepoCache, commit: string): Promise<string | undefined>;
}

/**
 * An existing folder is returned as it is; `org/name` or `org/name@revision` is looked up on the hub, and what the cache
 * lacks of it is downloaded. Offline, and when the hub cannot be reached, a complete copy in the cache is used: of a
 * branch or tag, the commit it stood for when last downloaded.
 *
 * Throws `not-found` (no such folder, model, revision or file, or offline and not in the cache), `failed` (no leave, no
 * connection, no disk space), `bad-file` (size or hash of a download is wrong), `bad-argument` (revision, HF_TOKEN,
 * HF_ENDPOINT) or `aborted`.
 */
export async function resolveFolder(
  directoryOrHubId: string,
  kind: FolderKind,
  options: HubOptions = {},
): Promise<string> {
  if (await isFolder(directoryOrHubId)) return directoryOrHubId;
  const repo = parseModelId(directoryOrHubId, options.revision);
  if (!repo) throw neitherFolderNorId(directoryOrHubId);
  const settings = hubSettings(options);
  const cache = new RepoCache(settings.cacheDir, repo);
  const commit = await cache.lastCommit();
  const lacking = commit ? await kind.lacking(cache, commit) : undefined;
  const cached = commit && !lacking ? cache.snapshot(commit) : undefined;
  if (settings.offline) {
    if (cached) return cached;
    throw notCached(repo, settings.cacheDir, lacking);
  }
  try {
    const lookup = new HubClient(settings, repo, cached ? briefPatience : undefined);
    const { commit, files } = await findRepo(lookup);
    await kind.fetch(new HubClient(settings, repo), cache, commit, files);
    await cache.noteCommit(commit);
    return cache.snapshot(commit);
  } catch (error) {
    if (cached && error instanceof HubUnavailable) return cached;
    throw error;
  }
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

/** Whether a snapshot has the file. */
export async function hasFile(cache: RepoCache, commit: string, name: string): Promise<boolean> {
  return (await fileSize(cache.file(commit, name))) !== undefined;
}

/** The `not-found` error for a file that a repository should have. */
export function lacks(repo: HubRepo, name: string, next: string): PicasoError {
  return new PicasoError("not-found", { where: repoLabel(repo), expected: name, found: "no such file", next });
}
