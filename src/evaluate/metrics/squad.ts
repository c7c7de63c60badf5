/**
 * Exact match and F1 of SQuAD v1.1 (Rajpurkar et al., "SQuAD: 100,000+ Questions for Machine Comprehension of Text",
 * 2016, section 6.1), as its official evaluation, evaluate-v1.1, defines them: both compare answers in a normal form,
 * and of several references the best counts.
 *
 * The official program is written in Python; where Python and JavaScript differ (what a word character is, what
 * whitespace is) this follows Python.
 */
import { PicasoError } from "../../errors.js";

/** The 32 ASCII punctuation characters; others, such as a long dash, stay. */
const punctuation = /[!-/:-@[-`{-~]/g;
/** "a", "an" and "the" as whole words; word characters are letters and digits of any script, and "_". */
const articles = /(?<![\p{L}\p{N}_])(?:a|an|the)(?![\p{L}\p{N}_])/gu;
/** Whitespace as Python's str.split() sees it. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: Python counts U+001C to U+001F as whitespace.
const whitespace = /[\t-\r\x1c-\x20\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]+/;

/** Lower case, then without punctuation, then without articles, then with single spaces between words. */
export function normalizeAnswer(text: string): string {
  return normalWords(text).join(" ");
}

/** 1 when the answer equals one of the references in the normal form, else 0. */
export function exactMatch(answer: string, references: readonly string[]): number {
  const normal = normalizeAnswer(answer);
  return best(references, (reference) => (normalizeAnswer(reference) === normal ? 1 : 0));
}

/**
 * The harmonic mean of precision and recall over words, each word as often as it occurs, for the reference that suits
 * the answer best: 0 to 1. As in the official v1.1 program, an empty answer has 0 even for an empty reference.
 */
export function answerF1(answer: string, references: readonly string[]): number {
  const words = normalWords(answer);
  return best(references, (reference) => wordF1(words, normalWords(reference)));
}

function normalWords(text: string): string[] {
  const bare = text.toLowerCase().replace(punctuation, "").replace(articles, " ");
  return bare.split(whitespace).filter((word) => word !== "");
}

function wordF1(answer: readonly string[], reference: readonly string[]): number {
  const left = new Map<string, number>();
  for (const word of reference) left.set(word, (left.get(word) ?? 0) + 1);
  let common = 0;
  for (const word of answer) {
    const count = left.get(word) ?? 0;
    if (count === 0) continue;
    left.set(word, count - 1);
    common++;
  }
  if (common === 0) return 0;
  const precision = common / answer.length;
  const recall = common / reference.length;
  return (2 * precision * recall) / (precision + recall);
}

function best(references: readonly string[], score: (reference: string) => number): number {
  if (references.length === 0) {
    throw new PicasoError("bad-argument", {
      where: "exact match or F1",
      expected: "at least one reference answer",
      found: "none",
      next: "Leave questions without answers out: SQuAD v1.1 has none.",
    });
  }
  return Math.max(...references.map(score));
}
