/**
 * ROUGE-L as MS MARCO's question answering evaluation computes it (program ms_marco_eval, whose scorer comes from the
 * MS COCO caption evaluation; the measure is Lin, "ROUGE: A Package for Automatic Evaluation of Summaries", 2004,
 * equations 2 to 4). Two choices of that lineage differ from Lin's paper: beta is 1.2, and over several references
 * precision and recall each take their best value, possibly from different references.
 */
import { PicasoError } from "../../errors.js";
import { msMarcoTokens } from "./tokens.js";

const beta2 = 1.2 ** 2;

/**
 * ROUGE-L of one answer against its references, 0 to 1; a data set's score is the mean over its answered queries.
 * With LCS the longest common subsequence of tokens, P = LCS / answer tokens, R = LCS / reference tokens:
 * (1 + beta^2) P R / (R + beta^2 P).
 *
 * Throws `bad-argument` without references: MS MARCO leaves queries that have no answer out.
 */
export function rougeL(answer: string, references: readonly string[]): number {
  if (references.length === 0) {
    throw new PicasoError("bad-argument", {
      where: "ROUGE-L",
      expected: "at least one reference answer",
      found: "none",
      next: "Leave queries without answers out.",
    });
  }
  const answerTokens = orEmptyToken(msMarcoTokens(answer));
  let precision = 0;
  let recall = 0;
  for (const reference of references) {
    const referenceTokens = orEmptyToken(msMarcoTokens(reference));
    const common = longestCommonSubsequence(answerTokens, referenceTokens);
    precision = Math.max(precision, common / answerTokens.length);
    recall = Math.max(recall, common / referenceTokens.length);
  }
  if (precision === 0 || recall === 0) return 0;
  return ((1 + beta2) * precision * recall) / (recall + beta2 * precision);
}

/** Length of the longest sequence of tokens that stands in both lists, in order but not necessarily side by side. */
export function longestCommonSubsequence(a: readonly string[], b: readonly string[]): number {
  // row[j]: the length for a's tokens so far and b's first j.
  const row = new Uint32Array(b.length + 1);
  for (const token of a) {
    let diagonal = 0;
    for (let j = 1; j <= b.length; j++) {
      const above = row[j]!;
      row[j] = token === b[j - 1] ? diagonal + 1 : Math.max(above, row[j - 1]!);
      diagonal = above;
    }
  }
  return row[b.length]!;
}

/** The original splits at spaces, where an empty text is one empty token. */
function orEmptyToken(tokens: string[]): string[] {
  return tokens.length === 0 ? [""] : tokens;
}
