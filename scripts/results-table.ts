/**
 * The table of an evaluation's summary.json as Markdown, for docs/results.
 * Run: npx tsx scripts/results-table.ts [--wide] eval-wikitext/summary.json [columns, such as over,share,f1] [ks, such as 4,10]
 * With --wide, of one column only: a row for each variant and number of contexts, a column for each method.
 */
import { readFileSync } from "node:fs";
import { parseArgs } from "node:util";
import type { Interval } from "../src/evaluate/metrics/bootstrap.js";
import type { MethodSummary } from "../src/evaluate/summary.js";
import { millisecondsOf, type Timing } from "../src/evaluate/timing.js";

interface Row extends MethodSummary {
  milliseconds?: number;
}

const columns: Record<string, [title: string, value: (row: Row) => Interval | number | undefined]> = {
  loss: ["log-perplexity", (row) => row.logPerplexity],
  over: ["over concat", (row) => row.overConcat],
  share: ["share of gain", (row) => row.shareOfGain],
  em: ["exact match", (row) => row.exactMatch],
  f1: ["F1", (row) => row.f1],
  rouge: ["ROUGE-L", (row) => row.rougeL],
  bleu: ["BLEU-1", (row) => row.bleu1],
  tokens: ["tokens read", (row) => row.tokensRead],
  ms: ["ms", (row) => row.milliseconds],
};

const { positionals, values } = parseArgs({ allowPositionals: true, options: { wide: { type: "boolean" } } });
const [file, names = "loss,over,share", ks] = positionals;
if (file === undefined) throw new Error("name a summary.json");
const chosen = names.split(",").map((name) => columns[name] ?? fail(name));
if (values.wide && chosen.length > 1) throw new Error("--wide shows one column");
const wanted = ks?.split(",").map(Number);
const summary = JSON.parse(readFileSync(file, "utf8")) as
  | { methods: MethodSummary[]; timings: Timing[] }
  | { variants: { variant: string; methods: MethodSummary[] }[] };
const hasVariants = "variants" in summary;
const groups = "variants" in summary ? summary.variants : [{ variant: "", methods: timed(summary) }];
const first = (variant: string, k: number) => [...(hasVariants ? [variant] : []), String(k)];
const rows = groups.flatMap(({ variant, methods }) =>
  methods.filter(({ k }) => !wanted || wanted.includes(k)).map((row) => ({ variant, ...row })),
);
if (rows.length === 0) throw new Error(`${file} has no figures with k of ${ks}`);
if (values.wide) printWide();
else printLong();

function printLong(): void {
  printHeading(["k", "method", ...chosen.map(([title]) => title)]);
  for (const row of rows) {
    // At k = 1 every method starts from the same state.
    if (row.k === 1 && !["best-1", "concat", "soup"].includes(row.method)) continue;
    console.log(line([...first(row.variant, row.k), row.method, ...chosen.map(([, value]) => show(value(row)))]));
  }
}

function printWide(): void {
  const [, value] = chosen[0]!;
  const shown = rows.filter((row) => value(row) !== undefined);
  const methods = [...new Set(shown.map(({ method }) => method))];
  const places = new Map(shown.map(({ variant, k }) => [`${variant} ${k}`, { variant, k }]));
  printHeading(["k", ...methods]);
  for (const { variant, k } of places.values()) {
    const cells = methods.map((method) => {
      const row = shown.find((each) => each.variant === variant && each.k === k && each.method === method);
      return row ? show(value(row)) : "";
    });
    console.log(line([...first(variant, k), ...cells]));
  }
}

function printHeading(titles: readonly string[]): void {
  const heading = [...(hasVariants ? ["variant"] : []), ...titles];
  console.log(line(heading));
  console.log(line(heading.map((title) => (title === "method" || title === "variant" ? "---" : "---:"))));
}

function timed({ methods, timings }: { methods: MethodSummary[]; timings: Timing[] }): Row[] {
  return methods.map((row) => ({
    ...row,
    milliseconds: millisecondsOf(timings, row),
  }));
}

function show(figure: Interval | number | undefined): string {
  if (figure === undefined) return "";
  if (typeof figure === "number") return figure.toFixed(0);
  const [value, low, high] = [figure.value, figure.low, figure.high].map((x) => x?.toFixed(3) ?? "?");
  return `${value} (${low} to ${high})`;
}

function line(cells: readonly string[]): string {
  return `| ${cells.join(" | ")} |`;
}

function fail(name: string): never {
  throw new Error(`expected columns out of ${Object.keys(columns).join(", ")}, found ${name}`);
}
