/** A data file that the user names by path or by its place in a data set on the Hugging Face hub. Needs Node. */
import { stat } from "node:fs/promises";
import { PicasoError } from "../errors.js";
import { briefPatience, HubClient } from "./client.js";
import { fetchFiles } from "./download.js";
import { HubUnavailable } from "./hub-errors.js";
import {
  dataReferenceForm,
  type HubRepo,
  isDataReference,
  namesNothing,
  parseDataReference,
  repoLabel,
  shown,
} from "./reference.js";
import { fileSize, RepoCache } from "./repo-cache.js";
import { findRepo } from "./repository.js";
import { type HubOptions, hubSettings } from "./settings.js";

/**
 * The path of a data file. A local path is returned as it is. A file on the hub is named
 *
 *     hub:datasets/ORG/NAME/path/in/repository.parquet
 *     hub:datasets/ORG/NAME@REVISION/path/in/repository.parquet
 *
 * where REVISION is a branch, tag or commit, or the hub's own refs/convert/NAME (such as refs/convert/parquet) or
 * refs/pr/NUMBER; `hf://datasets/...`, as other programs write it, means the same. It is downloaded into the hub's
 * cache where that lacks it. Offline, and when the hub cannot be reached, the copy in the cache is used. Throws like
 * resolveModelFolder.
 */
export async function resolveDataFile(pathOrHubRef: string, options: HubOptions = {}): Promise<string> {
  if (!isDataReference(pathOrHubRef)) return existing(pathOrHubRef);
  const { repo, path } = parseDataReference(pathOrHubRef, options.revision);
  const settings = hubSettings(options);
  const cache = new RepoCache(settings.cacheDir, repo);
  const last = await cache.lastCommit();
  const cached = last && (await fileSize(cache.file(last, path))) !== undefined ? cache.file(last, path) : undefined;
  if (settings.offline) {
    if (cached) return cached;
    throw notCached(repo, settings.cacheDir, path);
  }
  try {
    const { commit } = await findRepo(new HubClient(settings, repo, cached ? briefPatience : undefined));
    await fetchFiles(new HubClient(settings, repo), cache, commit, [path]);
    await cache.noteCommit(commit);
    return cache.file(commit, path);
  } catch (error) {
    if (cached && error instanceof HubUnavailable) return cached;
    throw error;
  }
}

async function existing(path: string): Promise<string> {
  await stat(path).catch((cause: NodeJS.ErrnoException) => {
    const isMissing = namesNothing(cause);
    throw new PicasoError(isMissing ? "not-found" : "failed", {
      where: shown(path),
      expected: `a data file, or one on the Hugging Face hub (${dataReferenceForm})`,
      found: isMissing ? "no such file" : cause.message,
      next: isMissing ? "Check the path." : "Check the file's permissions.",
      cause,
    });
  });
  return path;
}

function notCached(repo: HubRepo, cacheDir: string, path: string): PicasoError {
  return new PicasoError("not-found", {
    where: shown(repo.given),
    expected: `${path} of ${repoLabel(repo)} in the cache ${cacheDir}`,
    found: "no copy",
    next: "Run it once without --offline (and without HF_HUB_OFFLINE) to download it, or give the path of a local file.",
  });
}
