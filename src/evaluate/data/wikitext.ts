/**
 * Reader for WikiText token files (Merity et al., "Pointer Sentinel Mixture Models", 2016): articles of Wikipedia, one
 * paragraph a line, tokens divided by spaces, rare words as `<unk>`.
 *
 * An article begins at a line ` = Title = `, a section at ` = = Section = = `, deeper ones with more signs. Some lines of
 * running text look like article headings, such as the continuation ` = 1 <unk> and <unk> C = ` of a formula. Headings
 * stand between blank lines and those do not. By this rule WikiText-2 has the 600, 60 and 60 articles that its authors
 * count in train, validation and test; by their look alone 629, 60 and 62 lines would be headings.
 */
import { PicasoError } from "../../errors.js";
import { countWords } from "../metrics/log-perplexity.js";
import { readText } from "./files.js";

export interface WikiArticle {
  title: string;
  /** Line of the heading, from 1. */
  line: number;
  /** The lines as they stand, headings among them, without whitespace at both ends. */
  text: string;
  /** Words of `text`. */
  words: number;
  paragraphs: WikiParagraph[];
}

export interface WikiParagraph {
  text: string;
  /** Titles of the sections it stands in, outermost first; empty in an article's introduction. */
  sections: string[];
}

export interface WikiTextOptions {
  /**
   * `set-off`: article headings stand between blank lines. `any`: every line with the look of a heading begins an
   * article, as programs that split at a pattern have it; for comparison with figures measured so.
   * @default "set-off"
   */
  headings?: "set-off" | "any";
}

export async function readWikiText(path: string, options?: WikiTextOptions): Promise<WikiArticle[]> {
  return parseWikiText(await readText(path), path, options);
}

/**
 * The articles of a token file in order.
 *
 * @param where names the file in errors
 * @throws `bad-file` for text before the first heading, or no article at all
 */
export function parseWikiText(text: string, where: string, options: WikiTextOptions = {}): WikiArticle[] {
  const { headings = "set-off" } = options;
  const lines = text.split(/\r?\n/);
  const isBlank = (index: number) => (lines[index] ?? "").trim() === "";
  const articles: WikiArticle[] = [];
  let start = 0;
  let sections: string[] = [];
  const finish = (end: number) => {
    const article = articles.at(-1);
    if (article === undefined) return;
    article.text = lines.slice(start, end).join("\n").trim();
    article.words = countWords(article.text);
  };
  for (const [index, line] of lines.entries()) {
    if (isBlank(index)) continue;
    const heading = parseHeading(line);
    const setOff = isBlank(index - 1) && isBlank(index + 1);
    if (heading?.level === 1 && (setOff || headings === "any")) {
      finish(index);
      start = index;
      sections = [];
      articles.push({ title: heading.title, line: index + 1, text: "", words: 0, paragraphs: [] });
      continue;
    }
    const article = articles.at(-1);
    if (article === undefined) throw noHeading(`${where}, line ${index + 1}`, "other text");
    if (heading !== undefined && heading.level > 1 && setOff) {
      sections = [...sections.slice(0, heading.level - 2), heading.title];
    } else {
      article.paragraphs.push({ text: line.trim(), sections });
    }
  }
  finish(lines.length);
  if (articles.length === 0) throw noHeading(where, "no text");
  return articles;
}

/** Level (1 for an article) and title of a line with equally many `=` at both ends. */
function parseHeading(line: string): { level: number; title: string } | undefined {
  if (!line.trimStart().startsWith("=")) return undefined;
  const words = line.trim().split(/\s+/);
  let level = 0;
  while (words[level] === "=") level++;
  const title = words.slice(level, words.length - level);
  const closing = words.slice(words.length - level);
  if (level === 0 || title.length === 0 || title.at(-1) === "=" || closing.some((word) => word !== "="))
    return undefined;
  return { level, title: title.join(" ") };
}

function noHeading(where: string, found: string): PicasoError {
  return new PicasoError("bad-file", {
    where,
    expected: "an article heading such as ` = Title = ` between blank lines",
    found,
    next: "Use a WikiText token file (wiki.*.tokens or wiki.*.raw), not one that was edited or cut.",
  });
}
