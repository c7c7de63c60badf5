/** From what users type to what the catalog has: beginnings of passage ids, names of documents, files and folders. */
import { resolve, sep } from "node:path";
import { PicasoError } from "../errors.js";
import type { Catalog } from "./catalog.js";
import { PASSAGE_ID_DIGITS } from "./ids.js";
import { sqlString } from "./lance.js";
import type { StoredPassage } from "./passage.js";

/** Shorter beginnings of an id are refused: they are more likely typing errors than names. */
const MIN_ID_DIGITS = 6;

/**
 * The passages with these ids, in this order. A beginning of 6 digits or more will do where only one passage has it.
 * Throws `bad-argument` for other strings and for beginnings that several passages have, `not-found` for unknown ones.
 */
export async function findPassages(catalog: Catalog, ids: readonly string[]): Promise<StoredPassage[]> {
  const wanted = ids.map((id) => id.trim().toLowerCase());
  for (const [i, id] of wanted.entries()) {
    if (/^[0-9a-f]+$/.test(id) && id.length >= MIN_ID_DIGITS && id.length <= PASSAGE_ID_DIGITS) continue;
    throw new PicasoError("bad-argument", {
      where: `passage id ${JSON.stringify(ids[i])}`,
      expected: `${MIN_ID_DIGITS} to ${PASSAGE_ID_DIGITS} hexadecimal digits`,
      found: `${id.length} characters`,
      next: "Run `picaso ls --passages` to see the ids.",
    });
  }
  if (wanted.length === 0) return [];
  const conditions = [...new Set(wanted)].map((id) =>
    id.length === PASSAGE_ID_DIGITS ? `id = ${sqlString(id)}` : `id LIKE ${sqlString(`${id}%`)}`,
  );
  const found = await catalog.passages(conditions.join(" OR "));
  return wanted.map((id) => {
    const [passage, ...others] = found.filter((each) => each.id.startsWith(id));
    if (passage !== undefined && others.length === 0) return passage;
    throw new PicasoError(passage === undefined ? "not-found" : "bad-argument", {
      where: `passage id ${id}`,
      expected: passage === undefined ? "the id of a passage in the store" : "a beginning that only one passage has",
      found: passage === undefined ? "none with it" : [passage, ...others].map((each) => each.id).join(", "),
      next: passage === undefined ? "Run `picaso ls --passages` to see the ids." : "Give more digits.",
    });
  });
}

/**
 * The sources of the documents that these names mean, sorted: a source as the store has it, a file, or a folder with
 * all that came from it. Throws `not-found` for a name that means none.
 */
export async function findSources(catalog: Catalog, names: readonly string[]): Promise<string[]> {
  if (names.length === 0) return [];
  const fileOf = new Map<string, string>();
  for await (const { source, file } of catalog.scan(["source", "file"])) fileOf.set(source, file);
  const chosen = new Set<string>();
  for (const name of names) {
    const path = resolve(name);
    const folder = path.endsWith(sep) ? path : path + sep;
    const means = ([source, file]: [string, string]): boolean =>
      source === name || source === path || file === path || file.startsWith(folder);
    const sources = [...fileOf].filter(means).map(([source]) => source);
    if (sources.length === 0) {
      throw new PicasoError("not-found", {
        where: name,
        expected: "a document of the store, or a file or folder that some came from",
        found: "none",
        next: "Run `picaso ls` to see the documents.",
      });
    }
    for (const source of sources) chosen.add(source);
  }
  return [...chosen].sort();
}
