/** A folder for the files of one test file, with a cache of its own; both go when its tests have run. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll } from "vitest";

export interface Scratch {
  /** A path in the folder; usable from the first hook or test on. */
  path(...parts: string[]): string;
}

/** Sets `PICASO_CACHE` to a new empty folder for the tests of this file. */
export function useScratch(): Scratch {
  let folder: string | undefined;
  const before = process.env.PICASO_CACHE;
  const scratch: Scratch = {
    path(...parts) {
      if (!folder) throw new Error("the scratch folder is there from the first hook on");
      return join(folder, ...parts);
    },
  };
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "picaso-test-"));
    process.env.PICASO_CACHE = scratch.path("cache");
  });
  afterAll(async () => {
    if (before === undefined) delete process.env.PICASO_CACHE;
    else process.env.PICASO_CACHE = before;
    if (folder) await rm(folder, { recursive: true, force: true });
  });
  return scratch;
}
