import { mkdir, symlink, truncate, writeFile } from "node:fs/promises";
import { describe, expect, test } from "vitest";
import { useScratch } from "../../../test/support/scratch.js";
import { fileStats, readText, textLimits } from "./text-file.js";

const scratch = useScratch();

describe("readText", () => {
  test("reads UTF-8, without a byte order mark", async () => {
    await writeFile(scratch.path("text"), "\uFEFFé 東京 😀\n");
    expect(await readText(scratch.path("text"), "a text", "config")).toBe("é 東京 😀\n");
    await writeFile(scratch.path("empty"), "");
    expect(await readText(scratch.path("empty"), "a text", "config")).toBe("");
  });

  test("says what is missing", async () => {
    await expect(readText(scratch.path("none"), "the moon", "config")).rejects.toMatchObject({
      code: "not-found",
      message: expect.stringMatching(/none: expected the moon, found no such file/),
    });
  });

  test("refuses bytes that are not UTF-8", async () => {
    await writeFile(scratch.path("latin"), Buffer.from("café", "latin1"));
    await expect(readText(scratch.path("latin"), "a text", "config")).rejects.toMatchObject({
      code: "bad-file",
      message: expect.stringContaining("UTF-8"),
    });
  });

  test.each(["config", "index", "tokenizer"] as const)("reads no %s beyond its limit", async (kind) => {
    const path = scratch.path(kind);
    await writeFile(path, "");
    // A sparse file: nothing is allocated, unless somebody reads it.
    await truncate(path, textLimits[kind] + 1);
    const before = process.resourceUsage().maxRSS;
    await expect(readText(path, "a text", kind)).rejects.toMatchObject({
      code: "bad-file",
      message: expect.stringContaining(`${textLimits[kind] + 1}`),
    });
    expect(process.resourceUsage().maxRSS - before).toBeLessThan(50_000);
  });

  test("refuses a folder", async () => {
    await mkdir(scratch.path("folder"));
    await expect(readText(scratch.path("folder"), "a text", "config")).rejects.toMatchObject({ code: "bad-file" });
  });
});

describe("fileStats", () => {
  test("is null for what is not there", async () => {
    await writeFile(scratch.path("file"), "1234");
    expect((await fileStats(scratch.path("file")))?.size).toBe(4);
    expect(await fileStats(scratch.path("nothing"))).toBeNull();
    expect(await fileStats(scratch.path("file", "inside"))).toBeNull();
  });

  test("does not take other trouble for absence", async () => {
    await symlink("loop", scratch.path("loop"));
    await expect(fileStats(scratch.path("loop"))).rejects.toMatchObject({ code: "failed" });
    await expect(fileStats(scratch.path("n".repeat(5000)))).rejects.toMatchObject({ code: "failed" });
  });
});
