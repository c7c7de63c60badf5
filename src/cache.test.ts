import { mkdir, readdir, readFile, stat, utimes, writeFile } from "node:fs/promises";
import { homedir } from "node:os";
import { join } from "node:path";
import { afterEach, describe, expect, test, vi } from "vitest";
import { useScratch } from "../test/support/scratch.js";
import { cacheFolder, makeWholeFolder, temporaryName, writeWhole } from "./cache.js";
import { PicasoError } from "./errors.js";

const scratch = useScratch();

describe("cacheFolder", () => {
  afterEach(() => {
    vi.unstubAllEnvs();
  });

  test("is the first that is named", () => {
    vi.stubEnv("XDG_CACHE_HOME", "/x/cache");
    vi.stubEnv("PICASO_CACHE", "/own");
    expect(cacheFolder()).toBe("/own");
    vi.stubEnv("PICASO_CACHE", "");
    expect(cacheFolder()).toBe("/x/cache/picaso");
    vi.stubEnv("XDG_CACHE_HOME", undefined);
    expect(cacheFolder()).toBe(join(homedir(), ".cache", "picaso"));
  });
});

test("temporary names differ each time and stand beside the path", () => {
  const names = Array.from({ length: 100 }, () => temporaryName("/a/b"));
  expect(new Set(names).size).toBe(100);
  for (const name of names) expect(name).toMatch(/^\/a\/b\..*\.tmp$/);
});

describe("writeWhole", () => {
  test("makes the folders on the way, and replaces", async () => {
    const path = scratch.path("a", "b", "file");
    await writeWhole(path, "one");
    await writeWhole(path, new Uint8Array([0x74, 0x77, 0x6f]));
    expect(await readFile(path, "utf8")).toBe("two");
    expect(await readdir(scratch.path("a", "b"))).toEqual(["file"]);
  });

  test("of many at once leaves one of them whole", async () => {
    const path = scratch.path("race");
    const contents = Array.from({ length: 20 }, (_, i) => `${i}`.repeat(10_000));
    await Promise.all(contents.map((content) => writeWhole(path, content)));
    expect(contents).toContain(await readFile(path, "utf8"));
  });

  test("says where it could not write, and leaves nothing behind", async () => {
    await writeFile(scratch.path("file"), "");
    for (const path of [scratch.path("file", "inside"), scratch.path("file", "further", "inside")]) {
      await expect(writeWhole(path, "x")).rejects.toMatchObject({
        code: "failed",
        message: expect.stringMatching(/file\/(further\/)?inside: expected to write there.*PICASO_CACHE/),
      });
    }
    await mkdir(scratch.path("folder", "inside"), { recursive: true });
    await expect(writeWhole(scratch.path("folder"), "x")).rejects.toMatchObject({ code: "failed" });
    expect((await readdir(scratch.path())).filter((name) => name.endsWith(".tmp"))).toEqual([]);
  });
});

describe("makeWholeFolder", () => {
  const isWhole = async (folder: string) => (await stat(join(folder, "last")).catch(() => null)) !== null;
  const fill = (content: string) => async (folder: string) => {
    await writeFile(join(folder, "first"), content);
    await writeFile(join(folder, "last"), content);
  };
  const leftovers = async () => (await readdir(scratch.path("made"))).filter((name) => name.endsWith(".tmp"));

  test("gives the folder its name when it is filled", async () => {
    const path = scratch.path("made", "new");
    await makeWholeFolder(
      path,
      async (folder) => {
        await expect(stat(path)).rejects.toThrow();
        await fill("a")(folder);
      },
      isWhole,
    );
    expect(await readdir(path)).toEqual(["first", "last"]);
    expect(await leftovers()).toEqual([]);
  });

  test("leaves a whole folder that was there first", async () => {
    const path = scratch.path("made", "twice");
    await makeWholeFolder(path, fill("a"), isWhole);
    await makeWholeFolder(path, fill("b"), isWhole);
    expect(await readFile(join(path, "first"), "utf8")).toBe("a");
    expect(await leftovers()).toEqual([]);
  });

  test("replaces one that is not whole, and a file", async () => {
    const path = scratch.path("made", "broken");
    await mkdir(path);
    await writeFile(join(path, "first"), "broken");
    await makeWholeFolder(path, fill("a"), isWhole);
    expect(await readFile(join(path, "first"), "utf8")).toBe("a");
    const file = scratch.path("made", "file");
    await writeFile(file, "");
    await makeWholeFolder(file, fill("b"), isWhole);
    expect(await isWhole(file)).toBe(true);
  });

  test("by many at once is made once and whole", async () => {
    const path = scratch.path("made", "race");
    const contents = Array.from({ length: 10 }, (_, i) => `${i}`);
    await Promise.all(contents.map((content) => makeWholeFolder(path, fill(content), isWhole)));
    expect(contents).toContain(await readFile(join(path, "first"), "utf8"));
    expect(await readFile(join(path, "last"), "utf8")).toBe(await readFile(join(path, "first"), "utf8"));
    expect(await leftovers()).toEqual([]);
  });

  test("that fails on the way leaves nothing, and passes the error on", async () => {
    const path = scratch.path("made", "failing");
    const failure = new PicasoError("bad-file", { where: "w", expected: "e", found: "f", next: "n" });
    const make = (error: Error) =>
      makeWholeFolder(
        path,
        async (folder) => {
          await writeFile(join(folder, "first"), "x");
          throw error;
        },
        isWhole,
      );
    await expect(make(failure)).rejects.toBe(failure);
    const full = Object.assign(new Error("ENOSPC: no space left on device"), { code: "ENOSPC" });
    await expect(make(full)).rejects.toMatchObject({ code: "failed", message: expect.stringContaining("no space") });
    const taken = Object.assign(new Error("EEXIST: file already exists"), { code: "EEXIST" });
    await expect(make(taken)).rejects.toMatchObject({ code: "failed" });
    await expect(stat(path)).rejects.toThrow();
    expect(await leftovers()).toEqual([]);
  });

  test("clears away what a process that was killed left days ago", async () => {
    const [old, young] = [scratch.path("made", "x.1-a.tmp"), scratch.path("made", "y.2-b.tmp")];
    for (const folder of [old, young]) await mkdir(folder);
    const days = (count: number) => Date.now() / 1000 - count * 24 * 3600;
    await utimes(old, days(2), days(2));
    await utimes(young, days(0.5), days(0.5));
    await makeWholeFolder(scratch.path("made", "another"), fill("a"), isWhole);
    await expect(stat(old)).rejects.toThrow();
    expect((await stat(young)).isDirectory()).toBe(true);
  });

  test("says where it could not write", async () => {
    await writeFile(scratch.path("no-folder"), "");
    const path = scratch.path("no-folder", "x");
    await expect(makeWholeFolder(path, fill("a"), isWhole)).rejects.toMatchObject({
      code: "failed",
      message: expect.stringMatching(/no-folder\/x: expected to write there/),
    });
  });
});
