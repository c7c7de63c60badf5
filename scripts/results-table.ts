/**
 * The table of an evaluation's summary.json as Markdown, for docs/results.
 * Run: npx tsx scripts/results-table.ts eval-wikitext/summary.json [columns, such as over,share,f1]
 */
import { readFileSync } from "node:fs";
import type { Interval } from "../src/evaluate/metrics/bootstrap.js";
import type { MethodSummary } from "../src/evaluate/summary.js";

const columns: Record<string, [title: string, value: (row: MethodSummary) => Interval | undefined]> = {
  loss: ["log-perplexity", (row) => row.logPerplexity],
  over: ["over concat", (row) => row.overConcat],
  share: ["share of gain", (row) => row.shareOfGain],
  em: ["exact match", (row) => row.exactMatch],
  f1: ["F1", (row) => row.f1],
  rouge: ["ROUGE-L", (row) => row.rougeL],
  bleu: ["BLEU-1", (row) => row.bleu1],
};

const [file, names = "loss,over,share"] = process.argv.slice(2);
if (file === undefined) throw new Error("name a summary.json");
const chosen = names.split(",").map((name) => columns[name] ?? fail(name));
const summary = JSON.parse(readFileSync(file, "utf8")) as
  | { methods: MethodSummary[] }
  | { variants: { variant: string; methods: MethodSummary[] }[] };
const groups = "variants" in summary ? summary.variants : [{ variant: "", methods: summary.methods }];
const heading = [...("variants" in summary ? ["variant"] : []), "k", "method", ...chosen.map(([title]) => title)];
console.log(line(heading));
console.log(line(heading.map((title) => (title === "method" || title === "variant" ? "---" : "---:"))));
for (const { variant, methods } of groups) {
  for (const row of methods) {
    // At k = 1 every method starts from the same state.
    if (row.k === 1 && !["best-1", "concat", "soup"].includes(row.method)) continue;
    const cells = chosen.map(([, value]) => show(value(row)));
    console.log(line([...("variants" in summary ? [variant] : []), String(row.k), row.method, ...cells]));
  }
}

function show(interval: Interval | undefined): string {
  if (interval === undefined) return "";
  const [value, low, high] = [interval.value, interval.low, interval.high].map((x) => x?.toFixed(3) ?? "?");
  return `${value} (${low} to ${high})`;
}

function line(cells: readonly string[]): string {
  return `| ${cells.join(" | ")} |`;
}

function fail(name: string): never {
  throw new Error(`expected columns out of ${Object.keys(columns).join(", ")}, found ${name}`);
}
