/**
 * The course of a training on disk: `training.jsonl`, one object a step or validation, and `loss.svg`, its picture. What
 * a killed process wrote beyond its last checkpoint is taken back when the training goes on from there.
 */
import { appendFile, mkdir, readFile } from "node:fs/promises";
import { dirname } from "node:path";
import { writeWhole } from "../cache.js";
import { PicasoError } from "../errors.js";

export interface JournalEntry {
  step: number;
  /** Mean loss of the step's target tokens, before its update. */
  loss?: number;
  /** Mean loss of the validation's target tokens, after the step. */
  validationLoss?: number;
  learningRate?: number;
  gradientNorm?: number;
  tokensPerSecond?: number;
}

export class Journal {
  constructor(private readonly path: string) {}

  /** Keeps the entries up to a step; none where there is no file. */
  async restart(step: number): Promise<void> {
    const kept = (await this.read()).filter((entry) => entry.step <= step);
    await writeWhole(this.path, kept.map((entry) => `${JSON.stringify(entry)}\n`).join(""));
  }

  async add(entry: JournalEntry): Promise<void> {
    try {
      await mkdir(dirname(this.path), { recursive: true });
      await appendFile(this.path, `${JSON.stringify(entry)}\n`);
    } catch (cause) {
      throw this.failure("to write there", cause);
    }
  }

  /** All entries. A line that a killed process left unfinished is passed over. */
  async read(): Promise<JournalEntry[]> {
    let text: string;
    try {
      text = await readFile(this.path, "utf8");
    } catch (cause) {
      if ((cause as NodeJS.ErrnoException).code === "ENOENT") return [];
      throw this.failure("to read it", cause);
    }
    return text.split("\n").flatMap((line): JournalEntry[] => {
      const entry = parseLine(line);
      return entry ? [entry] : [];
    });
  }

  private failure(expected: string, cause: unknown): PicasoError {
    return new PicasoError("failed", {
      where: this.path,
      expected,
      found: cause instanceof Error ? cause.message : String(cause),
      next: "Check disk space and permissions, and run the training again: it goes on from its last checkpoint.",
      cause,
    });
  }
}

function parseLine(line: string): JournalEntry | null {
  try {
    const value = JSON.parse(line);
    return Number.isSafeInteger(value?.step) ? value : null;
  } catch {
    return null;
  }
}
