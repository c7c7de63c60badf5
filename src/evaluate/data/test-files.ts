/** For tests only: files made for a test, and data sets that are too large or licensed otherwise to be part of this. */
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll } from "vitest";

/** Writes files into a directory of their own, removed after the tests of the calling file. */
export function temporaryFiles(): (name: string, content: string | Uint8Array) => string {
  const folder = mkdtempSync(join(tmpdir(), "picaso-data-"));
  afterAll(() => rmSync(folder, { recursive: true }));
  return (name, content) => {
    const path = join(folder, name);
    writeFileSync(path, content);
    return path;
  };
}

/** A data set's path under `shared/data` beside the project, and a test name that says when it is absent. */
export function sharedData(name: string): { path: string; absent: boolean; label: (test: string) => string } {
  const path = fileURLToPath(new URL(`../../../../shared/data/${name}`, import.meta.url));
  const absent = !existsSync(path);
  return { path, absent, label: (test) => (absent ? `${test} (skipped: ../shared/data/${name} is absent)` : test) };
}
