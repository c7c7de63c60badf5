/** The main figures of a run as rows of text for a terminal. */
import type { Interval } from "../metrics/bootstrap.js";
import type { Summary } from "../summary.js";
import { millisecondsOf, type Timing } from "../timing.js";

export function summaryRows({ methods }: Summary, timings: readonly Timing[]): [string[], ...(string | number)[][]] {
  const hasAnswers = methods.some(({ exactMatch }) => exactMatch);
  const head = [
    "k",
    "method",
    "log-perplexity",
    "share of gain",
    ...(hasAnswers ? ["EM", "F1"] : []),
    "tokens read",
    ...(timings.length > 0 ? ["ms"] : []),
  ];
  const rows = methods.map((row) => [
    row.k,
    row.method,
    interval(row.logPerplexity),
    interval(row.shareOfGain),
    ...(hasAnswers ? [interval(row.exactMatch), interval(row.f1)] : []),
    Math.round(row.tokensRead),
    ...(timings.length > 0 ? [millisecondsOf(timings, row)?.toFixed(1) ?? ""] : []),
  ]);
  return [head, ...rows];
}

const meanings: Record<string, string> = {
  "log-perplexity": "loss in nats per target token, with its 95% interval over queries",
  "share of gain": "(none - method) / (none - concat with as many contexts), paired by query",
  EM: "exact matches among the answers, as SQuAD defines them",
  F1: "words that answers share with the right ones, as SQuAD defines it",
  "tokens read": "at question time",
  ms: "from stored states, or the contexts' tokens, to the first token",
};

/** What the columns of a table with this heading are, where the heading does not say. */
export function legendOf(head: readonly string[]): string {
  return head.flatMap((title) => (meanings[title] ? [`${title}: ${meanings[title]}`] : [])).join("\n");
}

export function interval(value: Interval | undefined): string {
  if (!value || Number.isNaN(value.value)) return "";
  const digits = (number: number) => (Number.isFinite(number) ? number.toFixed(3) : number > 0 ? "∞" : "-∞");
  return `${digits(value.value)} (${digits(value.low)} to ${digits(value.high)})`;
}
