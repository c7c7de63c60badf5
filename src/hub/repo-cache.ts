/**
 * One repository in the hub's cache, in the layout that the hub's Python library shares:
 *
 *     models--ORG--NAME/blobs/HASH                      the content of files, each once
 *     models--ORG--NAME/snapshots/COMMIT/config.json    links to blobs, under the files' own names
 *     models--ORG--NAME/refs/main                       the commit that a branch or tag stood for when last asked
 */
import { randomBytes } from "node:crypto";
import { copyFile, mkdir, readFile, rename, rm, stat, symlink, writeFile } from "node:fs/promises";
import { dirname, join, relative } from "node:path";
import { cacheError } from "./hub-errors.js";
import { type HubRepo, isCommit } from "./reference.js";

export class RepoCache {
  private readonly folder: string;

  constructor(
    cacheDir: string,
    private readonly repo: HubRepo,
  ) {
    this.folder = join(cacheDir, [`${repo.type}s`, ...repo.name.split("/")].join("--"));
  }

  blob(hash: string): string {
    return join(this.folder, "blobs", hash);
  }

  snapshot(commit: string): string {
    return join(this.folder, "snapshots", commit);
  }

  file(commit: string, path: string): string {
    return join(this.snapshot(commit), ...path.split("/"));
  }

  /** The commit that the revision stood for when it was last downloaded. */
  async lastCommit(): Promise<string | undefined> {
    const { revision } = this.repo;
    if (isCommit(revision)) return revision;
    const text = await readFile(this.ref(), "utf8").catch((cause) => ifAbsent(cause, this.ref(), ""));
    return isCommit(text.trim()) ? text.trim() : undefined;
  }

  /** Notes the commit of a branch or tag; to be called once its files are there, so that the note promises them. */
  async noteCommit(commit: string): Promise<void> {
    if (isCommit(this.repo.revision) || (await this.lastCommit()) === commit) return;
    await replace(this.ref(), (temporary) => writeFile(temporary, commit));
  }

  /** Links a snapshot's file to its blob; where the system has no links, copies it. */
  async link(commit: string, path: string, hash: string): Promise<void> {
    const name = this.file(commit, path);
    const target = relative(dirname(name), this.blob(hash));
    await replace(name, async (temporary) => {
      await symlink(target, temporary).catch((cause: NodeJS.ErrnoException) => {
        if (!["EPERM", "ENOSYS", "ENOTSUP", "EOPNOTSUPP"].includes(cause.code ?? "")) throw cause;
        return copyFile(this.blob(hash), temporary);
      });
    });
  }

  private ref(): string {
    return join(this.folder, "refs", ...this.repo.revision.split("/"));
  }
}

/** The size of a regular file, through links; undefined where there is none. */
export async function fileSize(path: string): Promise<number | undefined> {
  const information = await stat(path).catch((cause) => ifAbsent(cause, path, undefined));
  return information?.isFile() ? information.size : undefined;
}

/** `value` where the error says that the file is not there, else the error. */
export function ifAbsent<T>(cause: NodeJS.ErrnoException, path: string, value: T): T {
  if (cause.code === "ENOENT" || cause.code === "ENOTDIR") return value;
  throw cacheError(path, cause);
}

/** Makes a file under a temporary name, which then takes the real one. */
async function replace(path: string, make: (temporary: string) => Promise<void>): Promise<void> {
  const temporary = `${path}.${randomBytes(4).toString("hex")}.tmp`;
  try {
    await mkdir(dirname(path), { recursive: true });
    await make(temporary);
    await rename(temporary, path);
  } catch (cause) {
    await rm(temporary, { force: true }).catch(() => {});
    throw cacheError(path, cause);
  }
}
