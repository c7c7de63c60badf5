/**
 * The results of a run, a JSON line per query, in the order in which they were measured. A run that was interrupted goes
 * on behind the last whole line; the first line says what the run is, so that different runs are never mixed.
 */
import { mkdir, open, readFile, truncate } from "node:fs/promises";
import { dirname } from "node:path";
import { PicasoError } from "../errors.js";

export class Journal<Entry extends { id: string }> {
  private constructor(
    private readonly path: string,
    /** Entries written by earlier runs and this one. */
    readonly entries: Entry[],
  ) {}

  /** Opens or starts the journal of the run that `settings` describe. Throws `mismatch` for the journal of another. */
  static async open<Entry extends { id: string }>(path: string, settings: unknown): Promise<Journal<Entry>> {
    await mkdir(dirname(path), { recursive: true });
    const heading = `${JSON.stringify({ settings })}\n`;
    const text = await readFile(path, "utf8").catch((error: NodeJS.ErrnoException) => {
      if (error.code === "ENOENT") return "";
      throw error;
    });
    const whole = text.slice(0, text.lastIndexOf("\n") + 1);
    if (whole === "") {
      await append(path, heading, 0);
      return new Journal<Entry>(path, []);
    }
    if (!whole.startsWith(heading)) {
      throw otherRun(path, settings, whole.slice(0, whole.indexOf("\n")));
    }
    // A line cut off by the end of the process is measured again.
    if (whole.length < text.length) await truncate(path, Buffer.byteLength(whole));
    const lines = whole.slice(heading.length).split("\n").slice(0, -1);
    return new Journal<Entry>(
      path,
      lines.map((line, index) => parseLine<Entry>(line, `${path}, line ${index + 2}`)),
    );
  }

  async add(entry: Entry): Promise<void> {
    await append(this.path, `${JSON.stringify(entry)}\n`);
    this.entries.push(entry);
  }
}

/** Says in which settings the journal's run, by its first line, differs from this one. */
function otherRun(path: string, settings: unknown, line: string): PicasoError {
  const own = (JSON.parse(JSON.stringify(settings)) ?? {}) as Record<string, unknown>;
  const { settings: others = {} } = parseLine<{ settings?: Record<string, unknown> }>(line, `${path}, line 1`);
  const names = [...new Set([...Object.keys(own), ...Object.keys(others)])];
  const different = names.filter((name) => JSON.stringify(own[name]) !== JSON.stringify(others[name]));
  const list = (values: Record<string, unknown>) =>
    different.map((name) => `${name} ${JSON.stringify(values[name]) ?? "not set"}`).join(", ");
  return new PicasoError("mismatch", {
    where: path,
    expected: `the results of this run, ${list(own)}`,
    found: `those of another, ${list(others)}`,
    next: "Give another folder with --out, or remove this file.",
  });
}

async function append(path: string, text: string, length?: number): Promise<void> {
  const file = await open(path, "a");
  try {
    if (length !== undefined) await file.truncate(length);
    await file.write(text);
  } finally {
    await file.close();
  }
}

function parseLine<Entry>(line: string, where: string): Entry {
  try {
    return JSON.parse(line) as Entry;
  } catch (cause) {
    throw new PicasoError("bad-file", {
      where,
      expected: "a JSON object",
      found: line.slice(0, 60),
      next: "Remove the file to measure again.",
      cause,
    });
  }
}
