/** Which passages answer to the words of a question: BM25, with an order that is the same in every run. */
import type { Catalog } from "./catalog.js";
import { mapConcurrently } from "./files.js";
import type { SearchHit } from "./passage.js";
import type { StateFiles } from "./state-files.js";

/** Fetched beyond what is asked for, so that a missing state or a few equal scores do not need a second query. */
const SPARE = 16;

/**
 * The `k` best passages whose state is there, best first, those of equal score by id. More are fetched until these are
 * certain: the catalog cuts its answer anywhere among equal scores.
 */
export async function searchWhole(catalog: Catalog, files: StateFiles, query: string, k: number): Promise<SearchHit[]> {
  for (let limit = k + SPARE; ; limit *= 4) {
    const hits = await catalog.search(query, limit);
    hits.sort((a, b) => b.score - a.score || (a.passage.id < b.passage.id ? -1 : 1));
    const isAll = hits.length < limit;
    const certain = isAll ? hits : hits.filter(({ score }) => score > hits.at(-1)!.score);
    const whole = await firstWhole(files, certain, k);
    if (isAll || whole.length === k) return whole;
  }
}

async function firstWhole(files: StateFiles, hits: SearchHit[], k: number): Promise<SearchHit[]> {
  const whole: SearchHit[] = [];
  for (let at = 0; at < hits.length && whole.length < k; at += k) {
    const group = hits.slice(at, at + k);
    const sizes = await mapConcurrently(group, 32, ({ passage }) => files.size(passage.stateId));
    whole.push(...group.filter(({ passage }, i) => sizes[i] === passage.stateBytes));
  }
  return whole.slice(0, k);
}
