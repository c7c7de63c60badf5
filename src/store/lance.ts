/** What LanceDB's interface leaves to its users: literals in conditions, and commits that meet another process's. */
import { setTimeout as delay } from "node:timers/promises";
import { PicasoError } from "../errors.js";

/** LanceDB repeats a conflicting merge by itself a few times; this many rounds come on top. */
const MAX_ATTEMPTS = 12;
const PAUSE_MS = 25;

/**
 * Runs a change of a table, and again while it fails because another process changed the table at the same time.
 * Throws `conflict` when that does not end, `failed` for all other errors of LanceDB.
 */
export async function committing<T>(where: string, change: () => Promise<T>): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await change();
    } catch (cause) {
      if (PicasoError.isInstance(cause)) throw cause;
      const message = shortMessage(cause);
      const isConflict = /conflict|concurrent|already exists/i.test(message);
      if (isConflict && attempt < MAX_ATTEMPTS) {
        // Random, so that two processes do not meet again and again.
        await delay(PAUSE_MS * attempt * (0.5 + Math.random()));
        continue;
      }
      throw new PicasoError(isConflict ? "conflict" : "failed", {
        where,
        expected: "to change the catalog",
        found: isConflict ? `changes by other processes at each of ${attempt} attempts (${message})` : message,
        next: isConflict
          ? "Let the other processes finish, then run the same command again."
          : "Check free space and permissions, then run the same command again.",
        cause,
      });
    }
  }
}

/** The result of a query. Throws `failed` for errors of LanceDB. */
export async function reading<T>(where: string, query: Promise<T>): Promise<T> {
  try {
    return await query;
  } catch (cause) {
    throw new PicasoError("failed", {
      where,
      expected: "to read the catalog",
      found: shortMessage(cause),
      next: "Run it again; if it goes on, remove the store's folder and index the documents again.",
      cause,
    });
  }
}

/** A list of string literals in SQL, in parentheses. */
export function sqlList(values: readonly string[]): string {
  return `(${values.map(sqlString).join(", ")})`;
}

/** A string literal in SQL. Only the quote has a meaning inside. */
export function sqlString(value: string): string {
  return `'${value.replaceAll("'", "''")}'`;
}

/** What LanceDB says, without the places in its own source and the repetitions. */
export function shortMessage(error: unknown): string {
  const message = error instanceof Error ? error.message : String(error);
  return message.split(/\n|, \/| +Caused by/)[0]!.slice(0, 300);
}
