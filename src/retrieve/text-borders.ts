/**
 * Where a text may be cut, from the borders that hurt least to those that hurt most: paragraphs, sentences, lines,
 * words, characters. All ranges are offsets into the text in UTF-16 units; a level's ranges cover its input.
 */

/** From `start` up to, not including, `end`. */
export interface Range {
  start: number;
  end: number;
}

type Level = (text: string, range: Range) => Iterable<Range>;

/**
 * Intl.Segmenter takes time in proportion to its whole input for every single segment, so it is only ever shown this
 * many characters. A sentence, word or character that fills its window is cut.
 */
const SENTENCE_WINDOW = 4096;
const WORD_WINDOW = 512;

const sentenceSegmenter = new Intl.Segmenter("en", { granularity: "sentence" });
const wordSegmenter = new Intl.Segmenter("en", { granularity: "word" });
const graphemeSegmenter = new Intl.Segmenter("en", { granularity: "grapheme" });

/** Between blank lines. */
export const paragraphs: Level = (text, range) => between(text, range, /\n[^\S\n]*\n\s*/g);

/** As Unicode has them (UAX 29), but a single line end is no more than a space: texts are often wrapped. */
export const sentences: Level = (text, range) => segments(text, range, sentenceSegmenter, SENTENCE_WINDOW, cutAtSpace);

const lines: Level = (text, range) => between(text, range, /\n\s*/g);

const words: Level = (text, range) => between(text, range, /\s+/g);

/** The words of scripts without spaces, and the parts of addresses and other long tokens. */
const wordParts: Level = (text, range) => segments(text, range, wordSegmenter, WORD_WINDOW, cutAtCharacter);

/** What a reader takes for one character, which may be several code points. */
const graphemes: Level = (text, range) => segments(text, range, graphemeSegmenter, WORD_WINDOW, cutAtCharacter);

function* codePoints(text: string, { start, end }: Range): Iterable<Range> {
  for (let at = start; at < end; ) {
    const next = at + (text.codePointAt(at)! > 0xffff ? 2 : 1);
    yield { start: at, end: Math.min(next, end) };
    at = next;
  }
}

/** Coarsest first. */
export const borderLevels: readonly Level[] = [paragraphs, sentences, lines, words, wordParts, graphemes, codePoints];

/** The range without the whitespace at its ends; empty (start = end) when there is nothing else. */
export function trimmed(text: string, { start, end }: Range): Range {
  const part = text.slice(start, end);
  const from = start + part.length - part.trimStart().length;
  return { start: from, end: Math.max(from, start + part.trimEnd().length) };
}

function* between(text: string, { start, end }: Range, separator: RegExp): Iterable<Range> {
  const part = start === 0 && end === text.length ? text : text.slice(start, end);
  let from = 0;
  for (const match of part.matchAll(separator)) {
    const to = match.index + match[0].length;
    yield { start: start + from, end: start + to };
    from = to;
  }
  if (from < part.length) yield { start: start + from, end };
}

type Cut = (text: string, at: number, stop: number, end: number) => number;

/**
 * The segmenter's ranges, found window by window. `cut` says where to end a range that fills its window, which begins
 * at `at` and ends at `stop`.
 */
function* segments(
  text: string,
  { start, end }: Range,
  segmenter: Intl.Segmenter,
  window: number,
  cut: Cut,
): Iterable<Range> {
  for (let at = start; at < end; ) {
    const stop = Math.min(end, at + window);
    // Same length, so that offsets hold.
    const part = text.slice(at, stop).replaceAll("\n", " ");
    let next = stop;
    for (const { index, segment } of segmenter.segment(part)) {
      const mayGoOn = stop < end && index + segment.length === part.length;
      if (mayGoOn && index > 0) {
        // The next window shows it from its own start.
        next = at + index;
        break;
      }
      if (mayGoOn) next = cut(text, at, stop, end);
      yield { start: at + index, end: mayGoOn ? next : at + index + segment.length };
    }
    at = next;
  }
}

/** Behind the last space of the window; where it has none, behind the next one, and the finer levels take it apart. */
function cutAtSpace(text: string, at: number, stop: number, end: number): number {
  const inside = /\s\S*$/.exec(text.slice(at, stop));
  if (inside !== null) return at + inside.index + 1;
  const space = /\s/g;
  space.lastIndex = stop;
  const after = space.exec(text);
  return after === null ? end : Math.min(end, after.index + 1);
}

/** Before the last character of the window; where it is all one character, between two code points. */
function cutAtCharacter(text: string, at: number, stop: number): number {
  let last = 0;
  for (const { index } of graphemeSegmenter.segment(text.slice(at, stop))) last = index;
  if (last > 0) return at + last;
  const splitsPair = /[\ud800-\udbff]/.test(text[stop - 1]!) && /[\udc00-\udfff]/.test(text[stop]!);
  return splitsPair ? stop - 1 : stop;
}
