/** A run as one HTML page that stands by itself: figures with intervals, and pictures. */
import type { Interval } from "../metrics/bootstrap.js";
import type { MethodSummary, Summary } from "../summary.js";
import type { Timing } from "../timing.js";
import type { WeightPicture } from "../weight-picture.js";
import { plotLogPerplexity, plotQualityTime, plotScatter, plotWeights } from "./plots.js";

export interface ReportContent {
  title: string;
  /** What was run: shown as a list. */
  settings: Record<string, unknown>;
  summary: Summary;
  timings: readonly Timing[];
  weights: readonly WeightPicture[];
}

const style = `
  body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #222; }
  table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
  th, td { padding: 0.15rem 0.7rem; text-align: right; border-bottom: 1px solid #e5e5e5; white-space: nowrap; }
  th:first-child, td:first-child { text-align: left; }
  small { color: #777; } svg { max-width: 100%; height: auto; } dt { float: left; width: 10rem; color: #777; }
  figure { margin: 1.5rem 0; } figcaption { color: #555; } .wide { overflow-x: auto; }`;

export function reportPage({ title, settings, summary, timings, weights }: ReportContent): string {
  const all = { ...settings, queries: summary.queries, "target tokens": summary.targetTokens };
  const facts = Object.entries(all).filter(([, value]) => value !== undefined);
  const sections = [
    figure(
      plotLogPerplexity(summary),
      "Log-perplexity of the target against the number of contexts; bands are 95% intervals.",
    ),
    ...(timings.length > 0
      ? [figure(plotQualityTime(summary, timings), "Quality against time to the first token, one point per k.")]
      : []),
    ...(summary.scatter
      ? [figure(plotScatter(summary.scatter), "How far the loss scatters over random orders of the same contexts.")]
      : []),
    ...weights.map((picture) =>
      figure(
        plotWeights(picture),
        `Mean weights of ${picture.method} over ${picture.k} contexts, by layer (rows) and head; 0 dark, 1 bright.`,
      ),
    ),
    `<h2>Figures</h2><div class="wide">${methodTable(summary.methods, timings)}</div>`,
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
  const rows = methods.map((row) => {
    const timing = timings.find(({ method, k }) => method === row.method && k === row.k);
    return [
      row.method,
      String(row.k),
      String(row.queries),
      interval(row.logPerplexity),
      ...optional.map((name) => interval(row[name])),
      row.tokensRead.toFixed(0),
      timing ? timing.milliseconds.toFixed(1) : "",
    ];
  });
  return table([head, ...rows]);
}

function recallTable(recall: NonNullable<Summary["recall"]>): string {
  return table([["k", "recall"], ...recall.map((row) => [String(row.k), interval(row.recall)])]);
}

function table([head, ...rows]: string[][]): string {
  const line = (cells: string[], tag: string) => `<tr>${cells.map((cell) => `<${tag}>${cell}</${tag}>`).join("")}</tr>`;
  return `<table><thead>${line(head!, "th")}</thead><tbody>${rows.map((row) => line(row, "td")).join("")}</tbody></table>`;
}

function interval(value: Interval | undefined): string {
  if (!value || Number.isNaN(value.value)) return "";
  const digits = (number: number) => (Number.isFinite(number) ? number.toFixed(3) : "?");
  return `${digits(value.value)} <small>${digits(value.low)}..${digits(value.high)}</small>`;
}

function figure(svg: string, caption: string): string {
  return `<figure>${svg}<figcaption>${escapeHtml(caption)}</figcaption></figure>`;
}

function format(value: unknown): string {
  return typeof value === "string" ? value : JSON.stringify(value);
}

function escapeHtml(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll('"', "&quot;");
}
