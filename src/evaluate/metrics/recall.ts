/** Recall of a ranking: how much of what is relevant stands among its first k results. */
import { PicasoError } from "../../errors.js";

/**
 * |relevant among the first k| / |relevant|, for one query. With a single relevant passage it is 1 or 0, and its mean
 * over queries is the hit rate. A result that occurs twice counts once.
 *
 * @param ranked ids of the results, best first; may hold fewer than k
 * @throws `bad-argument` when nothing is relevant (such queries have no recall: leave them out) or k is no count
 */
export function recallAtK<Id>(ranked: readonly Id[], relevant: ReadonlySet<Id>, k: number): number {
  if (!Number.isInteger(k) || k < 0) throw badArgument("k, a whole number from 0", String(k));
  if (relevant.size === 0) throw badArgument("at least one relevant result", "none");
  const found = new Set(ranked.slice(0, k).filter((id) => relevant.has(id)));
  return found.size / relevant.size;
}

function badArgument(expected: string, found: string): PicasoError {
  const next = "Leave queries without relevant passages out of the average.";
  return new PicasoError("bad-argument", { where: "recall@k", expected, found, next });
}
