/**
 * Cuts a document into passages of at most so many tokens. A passage is one stretch of the document: whole paragraphs
 * where they fit, else whole sentences, else words, else characters. Time is near linear in the document's length:
 * every piece is counted once by itself and every passage once as a whole, since joined text may count differently.
 */
import { PicasoError } from "../errors.js";
import { borderLevels, paragraphs, type Range, sentences, trimmed } from "./text-borders.js";

export interface Passage {
  /** Its number in the document, from 0. */
  position: number;
  /** Offset of its first character in the document's text (UTF-16 units). */
  start: number;
  /** Offset behind its last character. */
  end: number;
  /** The document's text from `start` to `end`; begins and ends with no whitespace. */
  text: string;
  /** Length in tokens, never above `maxTokens`. */
  tokens: number;
}

export interface SplitOptions {
  /** Most tokens of a passage, 16 or more. */
  maxTokens: number;
  /** Most tokens of whole sentences repeated from the end of the passage before; under half of `maxTokens`. */
  overlap: number;
  tokenizer: { encode(text: string): number[] };
}

/** Whitespace longer than this is a border: nothing that belongs together has it in between. */
const MAX_GAP = 1000;

/** More headings in a row than this are not headings but short lines. */
const MAX_HEADINGS = 3;

/** Longest part of a passage in which sentences to repeat are looked for. */
const MAX_OVERLAP_CHARACTERS = 8192;

/** Pieces with more characters for each token that fits are cut without being counted; prose has four to five. */
const LONG = 8;

/** A passage with this part of its tokens is not filled up further: counting it again would cost more than it gains. */
const ENOUGH = 0.85;

/** A stretch of text that is not cut further unless it has to be. */
interface Piece extends Range {
  /** Tokens that it adds to a passage, with the whitespace before it: an estimate. */
  cost: number;
  /** The level of {@link borderLevels} that it was found at. */
  level: number;
  /** Too much whitespace stands before it for the same passage to go on. */
  apart: boolean;
}

/**
 * The passages of `text`, in order. Apart from repeated sentences they do not overlap, and what no passage has is
 * whitespace. Headings stay with the text that follows them. Throws `bad-argument` for options that cannot be used, or
 * when a single character has more than `maxTokens` tokens.
 */
export function splitPassages(text: string, options: SplitOptions): Passage[] {
  checkPassageOptions(options);
  const { maxTokens, overlap, tokenizer } = options;
  const count = ({ start, end }: Range): number => tokenizer.encode(text.slice(start, end)).length;
  const empty = tokenizer.encode("").length;
  const source = pieces({ start: 0, end: text.length }, 0, 0);
  const ahead: Piece[] = [];
  const passages: Passage[] = [];

  for (let start = -1; peek(0) !== undefined; ) {
    let { taken, tokens } = fill(start >= 0 ? start : ahead[0]!.start);
    if (taken === 0 && start >= 0) {
      start = -1;
      continue;
    }
    if (taken === 0) {
      const piece = ahead.shift()!;
      ahead.unshift(...pieces(piece, piece.level + 1, piece.start));
      continue;
    }
    const from = start >= 0 ? start : ahead[0]!.start;
    const headings = trailingHeadings(taken);
    const shorter = headings === 0 ? tokens : count({ start: from, end: ahead[taken - 1 - headings]!.end });
    if (shorter <= maxTokens) [taken, tokens] = [taken - headings, shorter];
    const end = ahead[taken - 1]!.end;
    passages.push({ position: passages.length, start: from, end, text: text.slice(from, end), tokens });
    ahead.splice(0, taken);
    start = overlapStart(from, end);
  }
  return passages;

  /** How many of the next pieces fit into a passage that begins at `start`, and the passage's tokens. */
  function fill(start: number): { taken: number; tokens: number } {
    const tokensOf = (taken: number): number => (taken === 0 ? empty : count({ start, end: ahead[taken - 1]!.end }));
    let taken = 0;
    let tokens = start < ahead[0]!.start ? count({ start, end: ahead[0]!.start }) : empty;
    // When the pieces' own counts were too high there is room left, which is filled going by how far they were off.
    let [costs, scale] = [0, 1];
    for (let round = 0; round < 3 && tokens < ENOUGH * maxTokens; round++) {
      let more = taken;
      for (let estimate = tokens; fits(more, estimate, scale); more++) {
        estimate += scale * ahead[more]!.cost;
        costs += ahead[more]!.cost;
      }
      if (more === taken) break;
      const real = tokensOf(more);
      if (real > maxTokens) return most(taken, more);
      [taken, tokens, scale] = [more, real, Math.min(1, real / costs)];
    }
    return { taken, tokens };

    /** The most pieces that fit, when `fitting` do and `tooMany` do not. */
    function most(fitting: number, tooMany: number): { taken: number; tokens: number } {
      let [low, high] = [fitting, tooMany];
      while (high - low > 1) {
        const middle = (low + high) >> 1;
        if (tokensOf(middle) <= maxTokens) low = middle;
        else high = middle;
      }
      return { taken: low, tokens: tokensOf(low) };
    }

    function fits(index: number, estimate: number, scale: number): boolean {
      const piece = peek(index);
      if (piece === undefined || (piece.apart && index > 0)) return false;
      return estimate + scale * piece.cost <= maxTokens || (index === 0 && start === piece.start);
    }
  }

  function peek(index: number): Piece | undefined {
    while (ahead.length <= index) {
      const { value, done } = source.next();
      if (done) return undefined;
      ahead.push(value);
    }
    return ahead[index];
  }

  /** The parts of `range` that fit into a passage, at the coarsest level that allows it, from `level` on. */
  function* pieces(range: Range, level: number, before: number): Generator<Piece, undefined, undefined> {
    const split = borderLevels[level];
    if (split === undefined) throw tooLittle(maxTokens, text.slice(range.start, range.end));
    let previous = before;
    for (const whole of split(text, range)) {
      const part = trimmed(text, whole);
      if (part.start === part.end) continue;
      const apart = part.start - previous > MAX_GAP;
      const size = part.end - part.start;
      const cost =
        size > LONG * maxTokens ? Infinity : count({ start: apart ? part.start : previous, end: part.end }) - empty;
      if (cost + empty <= maxTokens || (cost < Infinity && count(part) <= maxTokens)) {
        yield { ...part, cost, level, apart };
      } else {
        yield* pieces(part, level + 1, previous);
      }
      previous = part.end;
    }
  }

  /** How many of the first `taken` pieces ahead, at their end, are headings of what follows and must not stay. */
  function trailingHeadings(taken: number): number {
    if (peek(taken) === undefined) return 0;
    let headings = 0;
    while (headings < taken && isHeading(ahead[taken - 1 - headings]!)) headings++;
    return headings <= MAX_HEADINGS && headings < taken ? headings : 0;
  }

  function isHeading({ start, end, level }: Piece): boolean {
    return (
      level === 0 && end - start <= 120 && /^[^\n]*[\p{L}\p{N}][^\n]*(?<![.!?;,…。！？])$/u.test(text.slice(start, end))
    );
  }

  /** Where the next passage begins when it repeats the end of the one from `from` to `end`; -1 to repeat nothing. */
  function overlapStart(from: number, end: number): number {
    const next = peek(0);
    if (overlap === 0 || next === undefined || next.apart) return -1;
    const room = Math.min(overlap, maxTokens - next.cost);
    const tail = Math.max(from, end - Math.min(MAX_OVERLAP_CHARACTERS, 16 * overlap));
    const starts: number[] = [];
    for (const paragraph of paragraphs(text, { start: tail, end })) {
      for (const sentence of sentences(text, paragraph)) {
        const { start } = trimmed(text, sentence);
        // What begins with the tail or the passage itself is no whole sentence, or no part of the passage.
        if (start > tail && start < end) starts.push(start);
      }
    }
    let [best, low, high] = [-1, 0, starts.length - 1];
    while (low <= high) {
      const middle = (low + high) >> 1;
      if (count({ start: starts[middle]!, end }) <= room) [best, high] = [starts[middle]!, middle - 1];
      else low = middle + 1;
    }
    return best;
  }
}

/** Throws `bad-argument`, naming the flag, for options that {@link splitPassages} refuses. */
export function checkPassageOptions({ maxTokens, overlap }: Pick<SplitOptions, "maxTokens" | "overlap">): void {
  if (!Number.isSafeInteger(maxTokens) || maxTokens < 16) {
    throw new PicasoError("bad-argument", {
      where: "--passage-tokens",
      expected: "a whole number, 16 or more",
      found: String(maxTokens),
      next: "Give the most tokens that a passage may have, such as 256.",
    });
  }
  if (!Number.isSafeInteger(overlap) || overlap < 0 || overlap >= maxTokens / 2) {
    throw new PicasoError("bad-argument", {
      where: "--overlap",
      expected: `a whole number from 0 to under half of the ${maxTokens} tokens of a passage`,
      found: String(overlap),
      next: "Give fewer tokens to repeat, or longer passages with --passage-tokens.",
    });
  }
}

function tooLittle(maxTokens: number, character: string): PicasoError {
  return new PicasoError("bad-argument", {
    where: "--passage-tokens",
    expected: "room for at least one character",
    found: `${maxTokens}, while the tokenizer makes more of ${JSON.stringify(character)}`,
    next: "Allow more tokens a passage.",
  });
}
