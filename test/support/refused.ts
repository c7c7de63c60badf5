/** A table of model folders that must be refused. */
import { rm } from "node:fs/promises";
import { basename } from "node:path";
import { expect, test } from "vitest";
import { PicasoError, type PicasoErrorCode } from "../../src/errors.js";
import { LanguageModel } from "../../src/model/language-model.js";
import type { Change } from "./folder-changes.js";
import { makeGoldenFolder } from "./golden.js";
import type { Scratch } from "./scratch.js";

/** What is wrong with the folder, how it becomes so, and what the error must name besides the file. */
export type RefusedCase = [name: string, change: Change, ...mentions: string[]];

/**
 * A test for each case: loading the changed folder fails with `code`, the message names `file` and the case's words,
 * and the file's size is about all that was allocated.
 */
export function refused(scratch: Scratch, code: PicasoErrorCode, file: string, cases: RefusedCase[]): void {
  test.each(cases)(`${file} %s`, async (_, change, ...mentions) => {
    const folder = await makeGoldenFolder("golden-g1", scratch.path("refused"));
    try {
      await change(folder);
      const before = process.resourceUsage().maxRSS;
      const error: unknown = await LanguageModel.load(folder, { threads: 1 }).catch((error) => error);
      const growth = process.resourceUsage().maxRSS - before;
      if (!PicasoError.isInstance(error)) throw error;
      expect(error.code).toBe(code);
      expect(error.message.length).toBeLessThan(1000);
      for (const mention of [basename(file), ...mentions]) expect(error.message).toContain(mention);
      expect(growth, "kilobytes of memory at the peak").toBeLessThan(100_000);
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  });
}
