/**
 * Several models on the same queries, as Markdown: log-perplexity by method and number of contexts, and how much each
 * model lies below the first, paired by query, with 95% bootstrap intervals. Columns `em` and `f1` compare answers.
 * Run: npx tsx scripts/compare-models.ts [--metric loss|em|f1] [--ks 0,5] base=eval-base bptc=eval-bptc bp2c=eval-bp2c
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import type { Measurement } from "../src/evaluate/measure.js";
import type { QueryResult } from "../src/evaluate/measure-query.js";
import { bootstrapDifference, bootstrapRatio, type Interval } from "../src/evaluate/metrics/bootstrap.js";
import { answerF1, exactMatch } from "../src/evaluate/metrics/squad.js";

/** One query under one method: what is summed, and over how many units. */
type Metric = (result: QueryResult, measurement: Measurement) => { total: number; units: number };

const metrics: Record<string, Metric> = {
  loss: ({ targetTokens }, { loss }) => ({ total: loss, units: targetTokens }),
  em: ({ references }, { answer }) => ({ total: exactMatch(answer ?? "", references), units: 1 }),
  f1: ({ references }, { answer }) => ({ total: answerF1(answer ?? "", references), units: 1 }),
};

const { values, positionals } = parseArgs({
  options: { metric: { type: "string", default: "loss" }, ks: { type: "string" } },
  allowPositionals: true,
});
const metric = metrics[values.metric] ?? fail(`--metric ${values.metric}`);
const models = positionals.map((part) => {
  const [name, folder] = part.split("=");
  return name && folder ? { name, results: readResults(join(folder, "queries.jsonl")) } : fail(part);
});
const [base, ...others] = models;
if (!base || others.length === 0) fail("fewer than two models");
else printTable(base, others);

interface Model {
  name: string;
  results: Map<string, QueryResult>;
}

function printTable(base: Model, others: readonly Model[]): void {
  const ids = [...base.results.keys()].filter((id) => others.every(({ results }) => results.has(id)));
  console.log(`${ids.length} queries\n`);
  const titles = others.flatMap(({ name }) => [name, `${name} less ${base.name}`]);
  console.log(line(["k", "method", base.name, ...titles]));
  console.log(line(["---:", "---", "---:", ...titles.map(() => "---:")]));
  for (const { k, method } of cellsOf(base)) {
    const rows = ids.flatMap((id) => {
      const cells = [base, ...others].map(({ results }) => measured(results.get(id)!, k, method));
      return cells.every((cell) => cell !== undefined) ? [cells] : [];
    });
    if (rows.length === 0) continue;
    const column = (model: number) => rows.map((cells) => cells[model]!.total);
    const units = rows.map(([first]) => first!.units);
    const compared = others.flatMap((_, i) => [
      show(bootstrapRatio(column(i + 1), units)),
      show(bootstrapDifference(column(i + 1), column(0), units)),
    ]);
    console.log(line([String(k), method, show(bootstrapRatio(column(0), units)), ...compared]));
  }
}

/** Numbers of contexts and methods in the order of the first query that has most of them; at k = 1 all are one. */
function cellsOf({ results }: Model): { k: number; method: string }[] {
  const ks = values.ks?.split(",").map(Number);
  const cells = new Map<string, { k: number; method: string }>();
  for (const { measurements } of results.values()) {
    for (const { k, method } of measurements) {
      if (ks && !ks.includes(k)) continue;
      if (k === 1 && method !== "concat") continue;
      cells.set(`${method} ${k}`, { k, method });
    }
  }
  return [...cells.values()].sort((a, b) => a.k - b.k);
}

function measured(result: QueryResult, k: number, method: string) {
  const found = result.measurements.find((each) => each.k === k && each.method === method);
  return found && metric(result, found);
}

function readResults(path: string): Map<string, QueryResult> {
  const [, ...lines] = readFileSync(path, "utf8").trimEnd().split("\n");
  return new Map(lines.map((text) => JSON.parse(text) as QueryResult).map((result) => [result.id, result]));
}

function show({ value, low, high }: Interval): string {
  return `${value.toFixed(3)} (${low.toFixed(3)} to ${high.toFixed(3)})`;
}

function line(cells: readonly string[]): string {
  return `| ${cells.join(" | ")} |`;
}

function fail(found: string): never {
  throw new Error(`expected NAME=FOLDER of two or more evaluations of the same queries, found ${found}`);
}
