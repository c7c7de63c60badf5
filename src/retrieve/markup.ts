/**
 * HTML and Markdown to plain text: what a reader of the page reads. Blocks are separated by blank lines, so that the
 * paragraphs, headings and lists of the page become paragraphs of the text. Markdown goes through HTML.
 */
import type { FormatCallback, HtmlToTextOptions } from "html-to-text";
import { PicasoError } from "../errors.js";
import { limitDepth } from "./html-depth.js";

/** Deeper elements are left out, their text stays. */
const MAX_DEPTH = 250;

/** Where the converter stops; HTML that it takes for so much deeper was not understood. */
const MAX_TREE_DEPTH = 4 * MAX_DEPTH;

/** Characters looked at for emphasis, for each of the text: ordinary texts take about ten. */
const EMPHASIS_WORK = 1000;

/** Put by the converter where it stopped for depth; no document has this character of the private use area. */
const CUT = "\u{10fffd}";

/** Shown on no page, or no text. */
const skipped = ["script", "style", "noscript", "template", "title", "img", "svg", "picture", "video", "audio"].concat(
  ["canvas", "iframe", "object", "embed", "map"],
  ["input", "select", "textarea", "button", "datalist"],
);

/** Cells of a row in one line, with bars between them. */
const formatCell: FormatCallback = (element, walk, builder) => {
  const cells: { type: string }[] = element.parent?.children ?? [];
  if (cells.find(({ type }) => type === "tag") !== element) builder.addInline(" | ", {});
  walk(element.children, builder);
};

/** A rule says that what stands before and after it are apart; its own look is of no interest. */
const formatRule: FormatCallback = (_element, _walk, builder) => {
  builder.openBlock({ leadingLineBreaks: 2 });
  builder.closeBlock({ trailingLineBreaks: 2 });
};

const block = (lineBreaks: number) => ({ leadingLineBreaks: lineBreaks, trailingLineBreaks: lineBreaks });

const options: HtmlToTextOptions = {
  wordwrap: false,
  // Without this limit the converter has one of its own and cuts longer input off.
  limits: { maxInputLength: Number.MAX_SAFE_INTEGER, maxDepth: MAX_TREE_DEPTH, ellipsis: CUT },
  formatters: { cell: formatCell, rule: formatRule },
  selectors: [
    ...skipped.map((selector) => ({ selector, format: "skip" })),
    { selector: "a", options: { ignoreHref: true } },
    ...["h1", "h2", "h3", "h4", "h5", "h6"].map((selector) => ({
      selector,
      options: { uppercase: false, ...block(2) },
    })),
    { selector: "ul", options: { itemPrefix: "- ", ...block(2) } },
    { selector: "ol", options: block(2) },
    { selector: "table", format: "block", options: block(2) },
    { selector: "caption", format: "block", options: block(1) },
    { selector: "tr", format: "block", options: block(1) },
    { selector: "td", format: "cell" },
    { selector: "th", format: "cell" },
    { selector: "dl", format: "block", options: block(2) },
    { selector: "dt", format: "block", options: block(1) },
    { selector: "dd", format: "block", options: block(1) },
    { selector: "hr", format: "rule" },
  ],
};

/** The text of an HTML page or fragment. Throws `bad-file`, naming `where`, for elements nested too deep. */
export async function textOfHtml(html: string, where: string): Promise<string> {
  const { convert } = await import("html-to-text");
  let text: string;
  try {
    text = convert(limitDepth(html.replaceAll(CUT, ""), MAX_DEPTH), options);
  } catch (cause) {
    throw cause instanceof RangeError ? tooDeep(where, cause) : cause;
  }
  if (text.includes(CUT)) throw tooDeep(where);
  return text
    .replace(/\u00a0/g, " ")
    .replace(/\n{3,}/g, "\n\n")
    .replace(/^ (?=\d+\. )/gm, "");
}

/** The text of a Markdown document, without its front matter. Throws as {@link textOfHtml}. */
export async function textOfMarkdown(markdown: string, where: string): Promise<string> {
  const { Marked } = await import("marked");
  const body = withoutFrontMatter(markdown);
  let work = 0;
  const marked = new Marked({
    gfm: true,
    tokenizer: {
      // Looks for the other end of an emphasis from each possible beginning. Where that gets out of hand the marks stay
      // in the text (undefined); as long as it does not, the library's own tokenizer does it (false).
      emStrong(_, rest) {
        work += rest.length;
        return work > EMPHASIS_WORK * body.length ? undefined : false;
      },
    },
  });
  let html: string;
  try {
    html = marked.parse(body, { async: false });
  } catch (cause) {
    throw cause instanceof RangeError ? tooDeep(where, cause) : cause;
  }
  return textOfHtml(html, where);
}

/**
 * Drops a block of YAML ("---") or TOML ("+++") at the very start. Two rules with prose between them look alike, so
 * every line that is not indented has to be an entry, a list item or a comment.
 */
function withoutFrontMatter(markdown: string): string {
  const match = /^(---|\+\+\+)[ \t]*\n([\s\S]*?)\n(?:\1|\.\.\.)[ \t]*(?:\n|$)/.exec(markdown);
  if (match === null) return markdown;
  const entry = match[1] === "---" ? /^(?:[\w"'.-][^\n]*:(?:\s|$)|[\s#}\]-]|$)/ : /^(?:[\w"'.-]+\s*=|[\s#[\]}]|$)/;
  const isFrontMatter = match[2]!.split("\n").every((line) => entry.test(line));
  return isFrontMatter ? markdown.slice(match[0].length) : markdown;
}

function tooDeep(where: string, cause?: unknown): PicasoError {
  return new PicasoError("bad-file", {
    where,
    expected: `elements nested at most ${MAX_TREE_DEPTH} deep`,
    found: "deeper ones",
    next: "Repair the markup (look for elements that are never closed), or save the page as plain text.",
    cause,
  });
}
