/** The main figures of a run as rows of text for a terminal. */
import type { Interval } from "../metrics/bootstrap.js";
import type { Summary } from "../summary.js";
import type { Timing } from "../timing.js";

export function summaryRows({ methods }: Summary, timings: readonly Timing[]): (string | number)[][] {
  const hasAnswers = methods.some(({ exactMatch }) => exactMatch);
  const head = [
    "k",
    "method",
    "log-perplexity",
    "share of gain",
    ...(hasAnswers ? ["EM", "F1"] : []),
    "tokens read",
    "ms",
  ];
  const rows = methods.map((row) => [
    row.k,
    row.method,
    interval(row.logPerplexity),
    interval(row.shareOfGain),
    ...(hasAnswers ? [interval(row.exactMatch), interval(row.f1)] : []),
    Math.round(row.tokensRead),
    timings.find(({ method, k }) => method === row.method && k === row.k)?.milliseconds.toFixed(1) ?? "",
  ]);
  return [head, ...rows];
}

export function interval(value: Interval | undefined): string {
  if (!value || Number.isNaN(value.value)) return "";
  const digits = (number: number) => (Number.isFinite(number) ? number.toFixed(3) : number > 0 ? "∞" : "-∞");
  return `${digits(value.value)} (${digits(value.low)} to ${digits(value.high)})`;
}
