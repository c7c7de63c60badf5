/** Removes state files that no passage refers to, while other processes may be about to refer to them. */
import { rm } from "node:fs/promises";
import { PicasoError } from "../errors.js";
import type { Catalog } from "./catalog.js";
import type { StateFiles } from "./state-files.js";

export interface GcReport {
  /** Files removed: states that nothing refers to, and leftovers of interrupted work. */
  removed: number;
  /** Their bytes. */
  bytes: number;
  /** Bytes of old versions of the catalog that were removed. */
  catalogBytes: number;
  /** Files that would have gone, had they been older. */
  spared: number;
}

/**
 * Removes everything that no passage needs and that has not changed for `olderThanMs`: a running index may have written
 * states that it has not listed yet.
 */
export async function collectGarbage(catalog: Catalog, files: StateFiles, olderThanMs: number): Promise<GcReport> {
  if (!(olderThanMs >= 0 && Number.isFinite(olderThanMs))) {
    throw new PicasoError("bad-argument", {
      where: "--older-than",
      expected: "a time of 0 or more",
      found: String(olderThanMs),
      next: "Give the least age of the files to remove.",
    });
  }
  const before = Date.now() - olderThanMs;
  // Files first: what is listed between the two looks is in the second.
  const found = await files.list();
  const states = found.flatMap(({ stateId }) => (stateId === undefined ? [] : [stateId]));
  const referenced = await catalog.referenced(states);
  const unneeded = found.filter(({ stateId }) => stateId === undefined || !referenced.has(stateId));
  const old = unneeded.filter(({ changed }) => changed <= before);
  const removedStates = new Set(
    await removeUnreferenced(
      catalog,
      files,
      old.flatMap(({ stateId }) => (stateId === undefined ? [] : [stateId])),
    ),
  );
  const report: GcReport = { removed: 0, bytes: 0, catalogBytes: 0, spared: unneeded.length - old.length };
  for (const { path, stateId, bytes } of old) {
    if (stateId === undefined) await rm(path, { force: true });
    else if (!removedStates.has(stateId)) continue;
    report.removed++;
    report.bytes += bytes;
  }
  report.catalogBytes = await catalog.removeOldVersions(new Date(before));
  return report;
}

/**
 * Removes those of these states that no passage refers to; returns them. Each is renamed first and put back if the
 * catalog refers to it by then: a process that lists a passage and then looks for its state (see `replaceDocuments`)
 * either is seen here or notices that the state is gone.
 */
export async function removeUnreferenced(catalog: Catalog, files: StateFiles, stateIds: string[]): Promise<string[]> {
  const referenced = await catalog.referenced(stateIds);
  const aside = new Map<string, string>();
  for (const stateId of stateIds) {
    const path = referenced.has(stateId) ? undefined : await files.setAside(stateId, "removing");
    if (path !== undefined) aside.set(stateId, path);
  }
  const wanted = await catalog.referenced([...aside.keys()]);
  for (const [stateId, path] of aside) {
    if (wanted.has(stateId)) await files.restore(stateId, path);
    else await rm(path, { force: true });
  }
  return [...aside.keys()].filter((stateId) => !wanted.has(stateId));
}
