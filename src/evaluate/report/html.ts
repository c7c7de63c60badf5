/** A run as one HTML page that stands by itself: figures with intervals, and pictures. */
import type { Interval } from "../metrics/bootstrap.js";
import type { MethodSummary, Summary } from "../summary.js";
import { millisecondsOf, type Timing } from "../timing.js";
import type { Figure } from "./figures.js";

export interface ReportContent {
  title: string;
  /** What was run: shown as a list. */
  settings: Record<string, unknown>;
  summary: Summary;
  timings: readonly Timing[];
  figures: readonly Figure[];
}

const style = `
  body { font: 15px/1.5 Helvetica, Arial, sans-serif; max-width: 88rem; margin: 2rem auto; padding: 0 1rem;
    color: #111; background: white; }
  table { border-collapse: collapse; font-size: 13px; font-variant-numeric: tabular-nums; }
  th, td { padding: 0.1rem 0.5rem; text-align: right; border-bottom: 1px solid #ddd; white-space: nowrap; }
  th:first-child, td:first-child { text-align: left; } tr.first td { border-top: 2px solid #888; }
  small { color: #555; } svg { max-width: 100%; height: auto; } dt { float: left; width: 10rem; color: #555; }
  figure { margin: 2rem 0; } figcaption { max-width: 50rem; color: #333; } .wide { overflow-x: auto; }`;

export function reportPage({ title, settings, summary, timings, figures }: ReportContent): string {
  const all = { ...settings, queries: summary.queries, "target tokens": summary.targetTokens };
  const facts = Object.entries(all).filter(([, value]) => value !== undefined);
  const sections = [
    ...figures.map(({ svg, caption }) => `<figure>${svg}<figcaption>${escapeHtml(caption)}</figcaption></figure>`),
    `<h2>Figures</h2><p>With 95% intervals over queries; "tokens read" are those to be read at question time, "ms" the
median time to the first token.</p><div class="wide">${methodTable(summary.methods, timings)}</div>`,
    ...(summary.recall ? [`<h2>Retrieval</h2>${recallTable(summary.recall)}`] : []),
  ];
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>${escapeHtml(title)}</title><style>${style}</style></head><body>
<h1>${escapeHtml(title)}</h1>
<dl>${facts.map(([name, value]) => `<dt>${escapeHtml(name)}</dt><dd>${escapeHtml(format(value))}</dd>`).join("")}</dl>
${sections.join("\n")}
</body></html>
`;
}

function methodTable(methods: readonly MethodSummary[], timings: readonly Timing[]): string {
  const optional = (["overConcat", "shareOfGain", "exactMatch", "f1", "rougeL", "bleu1"] as const).filter((name) =>
    methods.some((row) => row[name]),
  );
  const headings: Record<(typeof optional)[number], string> = {
    overConcat: "over concat",
    shareOfGain: "share of concat's gain",
    exactMatch: "exact match",
    f1: "F1",
    rougeL: "ROUGE-L",
    bleu1: "BLEU-1",
  };
  const head = [
    "method",
    "k",
    "queries",
    "log-perplexity",
    ...optional.map((name) => headings[name]),
    "tokens read",
    "ms",
  ];
  const rows = methods.map((row) => [
    row.method,
    String(row.k),
    String(row.queries),
    interval(row.logPerplexity),
    ...optional.map((name) => interval(row[name])),
    row.tokensRead.toFixed(0),
    millisecondsOf(timings, row)?.toFixed(1) ?? "",
  ]);
  return table([head, ...rows]);
}

function recallTable(recall: NonNullable<Summary["recall"]>): string {
  return table([["k", "recall"], ...recall.map((row) => [String(row.k), interval(row.recall)])]);
}

function table([head, ...rows]: string[][]): string {
  const line = (cells: string[], tag: string, group = "") =>
    `<tr${group}>${cells.map((cell) => `<${tag}>${cell}</${tag}>`).join("")}</tr>`;
  // Rows of one number of contexts stand together.
  const k = head!.indexOf("k");
  const isNew = (row: string[], before: string[] | undefined) => before !== undefined && k > 0 && row[k] !== before[k];
  return `<table><thead>${line(head!, "th")}</thead><tbody>${rows.map((row, i) => line(row, "td", isNew(row, rows[i - 1]) ? ' class="first"' : "")).join("")}</tbody></table>`;
}

function interval(value: Interval | undefined): string {
  if (!value || Number.isNaN(value.value)) return "";
  const digits = (number: number) => (Number.isFinite(number) ? number.toFixed(3) : number > 0 ? "∞" : "-∞");
  return `${digits(value.value)} <small>${digits(value.low)} to ${digits(value.high)}</small>`;
}

function format(value: unknown): string {
  return typeof value === "string" ? value : JSON.stringify(value);
}

function escapeHtml(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll('"', "&quot;");
}
