/** What the hub says of a repository: the commit behind a revision, its files, their sizes and hashes. */
import { PicasoError } from "../errors.js";
import type { HubClient } from "./client.js";
import { badAnswer, noSuchFile } from "./hub-errors.js";
import type { FileContent } from "./partial-file.js";
import { isCommit, shown } from "./reference.js";

export interface RemoteFile extends FileContent {
  path: string;
}

export interface RemoteRepo {
  commit: string;
  /** Paths of its files; of a model only, as data sets can have a great many. */
  files: Set<string>;
}

/** The commit that the revision stands for now. */
export async function findRepo(client: HubClient): Promise<RemoteRepo> {
  const { settings, repo, fetch } = client;
  const { datasetInfo, modelInfo } = await import("@huggingface/hub");
  const { name, revision } = repo;
  const common = { name, revision, hubUrl: settings.hubUrl, fetch };
  const answer: { sha?: unknown; filePaths?: unknown } = await checked(client, () =>
    repo.type === "model"
      ? modelInfo({ ...common, additionalFields: ["sha", "filePaths"] })
      : datasetInfo({ ...common, additionalFields: ["sha"] }),
  );
  const { sha, filePaths = [] } = answer;
  if (typeof sha !== "string" || !isCommit(sha)) throw badAnswer(settings, repo, "the commit of the revision", "none");
  if (!Array.isArray(filePaths) || filePaths.some((path) => typeof path !== "string")) {
    throw badAnswer(settings, repo, "a list of files", "something else");
  }
  return { commit: sha, files: new Set(filePaths) };
}

/** Sizes and hashes of files at a commit. Throws `not-found` for a path that is no file. */
export async function describeFiles(client: HubClient, commit: string, paths: string[]): Promise<RemoteFile[]> {
  const { settings, repo, fetch } = client;
  const { pathsInfo } = await import("@huggingface/hub");
  const { hubUrl } = settings;
  const entries = await checked(client, () =>
    pathsInfo({ repo: { type: repo.type, name: repo.name }, revision: commit, paths, hubUrl, fetch }),
  );
  return paths.map((path) => {
    const entry = entries.find((candidate) => candidate.path === path);
    if (entry?.type !== "file") throw noSuchFile(settings, repo, `${entry ? "a folder" : "no file"} ${shown(path)}`);
    // Large files have a SHA-256; small ones are in Git, by its own SHA-1.
    const { oid: hash, size } = entry.lfs ?? entry;
    const isHash = typeof hash === "string" && (entry.lfs ? /^[0-9a-f]{64}$/ : /^[0-9a-f]{40}$/).test(hash);
    if (!isHash || !Number.isSafeInteger(size) || size < 0) {
      throw badAnswer(settings, repo, `size and hash of ${shown(path)}`, "none that are well-formed");
    }
    return { path, size, hash };
  });
}

/** Runs a call of the hub's library; what it makes of an answer in another form becomes an error that says so. */
async function checked<T>(client: HubClient, call: () => Promise<T>): Promise<T> {
  try {
    return await call();
  } catch (cause) {
    if (PicasoError.isInstance(cause)) throw cause;
    const found = cause instanceof Error ? shown(cause.message) : "something else";
    throw badAnswer(client.settings, client.repo, "an answer in the hub's form", found);
  }
}
