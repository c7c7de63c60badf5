/**
 * Files from the hub into its cache: each is written beside its blob, checked by size and hash, and only then takes the
 * blob's name. Interrupted downloads go on where they stopped, in the same run and in later ones.
 *
 * The hub's library has a download into the cache as well, which checks neither size nor hash, does not resume, lets
 * two processes write to one file, and files each file under the commit that last changed it.
 */
import { PicasoError } from "../errors.js";
import type { HubClient } from "./client.js";
import { unavailable } from "./hub-errors.js";
import { PartialFile } from "./partial-file.js";
import { repoLabel } from "./reference.js";
import { fileSize, type RepoCache } from "./repo-cache.js";
import { describeFiles, type RemoteFile } from "./repository.js";

/** A try that brought so much was a good one: the count of failures starts anew. */
const goodProgressBytes = 1 << 20;
const progressEveryMs = 100;

/** Makes sure that the snapshot of `commit` has these files; downloads those that are missing. */
export async function fetchFiles(client: HubClient, cache: RepoCache, commit: string, paths: string[]): Promise<void> {
  const missing: string[] = [];
  for (const path of paths) {
    if ((await fileSize(cache.file(commit, path))) === undefined) missing.push(path);
  }
  if (missing.length === 0) return;
  for (const file of await describeFiles(client, commit, missing)) {
    const blob = cache.blob(file.hash);
    if ((await fileSize(blob)) !== file.size) await downloadBlob(client, commit, file, blob);
    await cache.link(commit, file.path, file.hash);
  }
}

async function downloadBlob(client: HubClient, commit: string, file: RemoteFile, blob: string): Promise<void> {
  let partial = await PartialFile.open(blob, file, client.settings.signal);
  const report = progressReporter(client, file);
  try {
    await complete(client, commit, file, partial, report);
    let isRight = partial.isRight();
    if (!isRight && partial.inherited > 0) {
      // The fault may lie in what a killed run left on the disk.
      await partial.discard();
      partial = await PartialFile.create(blob, file);
      await complete(client, commit, file, partial, report);
      isRight = partial.isRight();
    }
    if (!isRight) throw wrongContent(client, file, "content with another hash");
  } catch (error) {
    if (PicasoError.isInstance(error) && error.code === "bad-file") await partial.discard();
    else await partial.release();
    throw error;
  }
  await partial.finish();
}

/** Brings the file to its full size, over as many connections as that takes. */
async function complete(
  client: HubClient,
  commit: string,
  file: RemoteFile,
  partial: PartialFile,
  report: (done: number) => void,
): Promise<void> {
  report(partial.written);
  for (let failures = 0; partial.written < file.size; ) {
    const before = partial.written;
    try {
      await fetchRest(client, commit, file, partial, report);
    } catch (error) {
      if (partial.written - before >= goodProgressBytes) failures = 0;
      await client.pause(error, ++failures);
    }
  }
}

async function fetchRest(
  client: HubClient,
  commit: string,
  file: RemoteFile,
  partial: PartialFile,
  report: (done: number) => void,
): Promise<void> {
  const { settings, repo } = client;
  const prefix = repo.type === "model" ? "" : "datasets/";
  const path = file.path.split("/").map(encodeURIComponent).join("/");
  const headers: Record<string, string> = { "accept-encoding": "identity" };
  if (partial.written > 0) headers.range = `bytes=${partial.written}-`;
  const url = `${settings.hubUrl}/${prefix}${repo.name}/resolve/${commit}/${path}`;
  await client.open(url, { headers }, async (response, chunks) => {
    let skip = firstByteToSkip(client, file, partial.written, response);
    for await (const chunk of chunks) {
      const fresh = chunk.subarray(Math.min(skip, chunk.length));
      skip -= chunk.length - fresh.length;
      if (partial.written + fresh.length > file.size) throw wrongContent(client, file, "more bytes");
      await partial.write(fresh);
      report(partial.written);
    }
    if (partial.written < file.size) {
      throw unavailable(settings, repo, `the end of ${file.path} after ${partial.written} of ${file.size} bytes`);
    }
  });
}

/** How much of the body is already on disk: all before `start` where the server sends the whole file again. */
function firstByteToSkip(client: HubClient, file: RemoteFile, start: number, response: Response): number {
  if (response.status !== 206) return start;
  const from = /^bytes (\d+)-/.exec(response.headers.get("content-range") ?? "")?.[1];
  if (Number(from ?? Number.NaN) === start) return 0;
  throw unavailable(client.settings, client.repo, `another part of ${file.path} than the one asked for`);
}

function wrongContent(client: HubClient, file: RemoteFile, found: string): PicasoError {
  return new PicasoError("bad-file", {
    where: `${repoLabel(client.repo)}, ${file.path}`,
    expected: `${file.size} bytes with hash ${file.hash}`,
    found,
    next: "Nothing was kept of it. Run it again; if it stays so, the fault is with the hub or a proxy on the way.",
  });
}

function progressReporter(client: HubClient, file: RemoteFile): (done: number) => void {
  let last = 0;
  return (done) => {
    const now = Date.now();
    if (now - last < progressEveryMs && done < file.size) return;
    last = now;
    client.settings.onProgress?.({ phase: "download", file: file.path, done, total: file.size });
  };
}
