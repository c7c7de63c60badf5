/**
 * Corpus BLEU-1 as MS MARCO's question answering evaluation computes it (program ms_marco_eval, whose scorer comes
 * from the MS COCO caption evaluation; the measure is Papineni et al., "BLEU: a Method for Automatic Evaluation of
 * Machine Translation", 2002): clipped matches over the tokens of all answers, times a brevity penalty on the total
 * length against the total of each answer's closest reference length.
 *
 * BLEU is no mean over queries. Each query gives three counts, and BLEU is a function of their sums, so that a
 * bootstrap can resample queries: `bootstrap(bleuColumns(counts), bleuFromSums)`.
 */
import { PicasoError } from "../../errors.js";
import { msMarcoTokens } from "./tokens.js";

/** What one answer adds to the corpus. */
export interface BleuCounts {
  /** Tokens of the answer found in a reference, each at most as often as the reference that has it most often. */
  matches: number;
  /** Tokens of the answer: the guesses of BLEU-1, and its length. */
  guesses: number;
  /** Tokens of the reference whose length is closest to the answer's; of two equally close, the shorter. */
  referenceLength: number;
}

/** Throws `bad-argument` without references: MS MARCO leaves queries that have no answer out. */
export function bleu1Counts(answer: string, references: readonly string[]): BleuCounts {
  if (references.length === 0) {
    throw new PicasoError("bad-argument", {
      where: "BLEU",
      expected: "at least one reference answer",
      found: "none",
      next: "Leave queries without answers out.",
    });
  }
  const answerCounts = countTokens(msMarcoTokens(answer));
  const guesses = sum(answerCounts);
  const clip = new Map<string, number>();
  let referenceLength = Number.POSITIVE_INFINITY;
  for (const reference of references) {
    const counts = countTokens(msMarcoTokens(reference));
    for (const [token, count] of counts) clip.set(token, Math.max(clip.get(token) ?? 0, count));
    const length = sum(counts);
    const closer = Math.abs(length - guesses) - Math.abs(referenceLength - guesses);
    if (closer < 0 || (closer === 0 && length < referenceLength)) referenceLength = length;
  }
  let matches = 0;
  for (const [token, count] of answerCounts) matches += Math.min(count, clip.get(token) ?? 0);
  return { matches, guesses, referenceLength };
}

/**
 * BLEU-1 from the sums of matches, guesses and reference lengths, in this order: 0 to 1. Without any guess it is 0.
 * (The original keeps divisions defined by adding 1e-15 and 1e-9; that changes the tenth digit at most.)
 */
export function bleuFromSums(sums: ArrayLike<number>): number {
  const [matches, guesses, referenceLength] = [sums[0]!, sums[1]!, sums[2]!];
  if (guesses === 0) return 0;
  const brevity = guesses < referenceLength ? Math.exp(1 - referenceLength / guesses) : 1;
  return (brevity * matches) / guesses;
}

/** Corpus BLEU-1 of all queries. */
export function corpusBleu1(counts: readonly BleuCounts[]): number {
  return bleuFromSums(bleuColumns(counts).map((column) => column.reduce((a, b) => a + b, 0)));
}

/** The counts as columns for a bootstrap, in the order {@link bleuFromSums} takes. */
export function bleuColumns(counts: readonly BleuCounts[]): number[][] {
  return [counts.map((c) => c.matches), counts.map((c) => c.guesses), counts.map((c) => c.referenceLength)];
}

function countTokens(tokens: readonly string[]): Map<string, number> {
  const counts = new Map<string, number>();
  for (const token of tokens) counts.set(token, (counts.get(token) ?? 0) + 1);
  return counts;
}

function sum(counts: Map<string, number>): number {
  let total = 0;
  for (const count of counts.values()) total += count;
  return total;
}
