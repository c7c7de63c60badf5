/** The pictures of a report, as SVG: drawn by Observable Plot on a document without a browser. */
import * as Plot from "@observablehq/plot";
import { parseHTML } from "linkedom";
import type { Summary } from "../summary.js";
import type { Timing } from "../timing.js";
import type { WeightPicture } from "../weight-picture.js";

const { document } = parseHTML("<html></html>");

/** Colours by method: the baselines in greys and browns, composition in clear hues. Told apart by the colour-blind. */
const colors: Record<string, string> = {
  none: "#999999",
  "best-1": "#666666",
  concat: "#000000",
  "concat-best-first": "#8c6d46",
  "piconcat-r": "#b5895b",
  soup: "#e69f00",
  caso: "#56b4e9",
  "caso-best-first": "#9ed2f0",
  "picaso-r": "#009e73",
  "picaso-s": "#d55e00",
};

const width = 760;

function svg(options: Plot.PlotOptions): string {
  const names = Object.keys(colors);
  const figure = Plot.plot({
    document: document as unknown as Document,
    width,
    marginRight: 130,
    marginLeft: 55,
    style: { fontSize: "12px", fontFamily: "system-ui, sans-serif", background: "white" },
    color: { domain: names, range: names.map((name) => colors[name]!), ...options.color },
    ...options,
  });
  figure.setAttribute("xmlns", "http://www.w3.org/2000/svg");
  return figure.outerHTML;
}

/** Log-perplexity against the number of contexts, with 95% intervals. */
export function plotLogPerplexity({ methods }: Summary): string {
  const rows = methods
    .filter(({ method }) => method !== "none" && method !== "best-1")
    .map(({ method, k, logPerplexity }) => ({ method, k, ...logPerplexity }));
  const none = methods.find(({ method }) => method === "none");
  const marks: Plot.Markish[] = [
    Plot.areaY(rows, { x: "k", y1: "low", y2: "high", fill: "method", fillOpacity: 0.1 }),
    Plot.lineY(rows, { x: "k", y: "value", stroke: "method", strokeWidth: 1.8 }),
    Plot.dot(rows, { x: "k", y: "value", fill: "method", r: 2.5 }),
  ];
  if (none) marks.push(Plot.ruleY([none.logPerplexity.value], { stroke: colors.none, strokeDasharray: "4 3" }));
  marks.push(...endLabels(rows.map(({ method, k, value }) => ({ method, x: k, y: value }))));
  return svg({
    height: 420,
    x: { label: "contexts k", ticks: [...new Set(rows.map(({ k }) => k))], tickFormat: "d" },
    y: { label: "log-perplexity (nats per token)", grid: true },
    marks,
  });
}

/** Log-perplexity against the time to the first token: down and to the left is better. */
export function plotQualityTime({ methods }: Summary, timings: readonly Timing[]): string {
  const rows = timings.flatMap(({ method, k, milliseconds }) => {
    const quality = methods.find((each) => each.method === method && each.k === k);
    return quality ? [{ method, k, milliseconds, value: quality.logPerplexity.value }] : [];
  });
  return svg({
    height: 420,
    x: { type: "log", label: "time to first token (ms)", grid: true },
    y: { label: "log-perplexity (nats per token)", grid: true },
    marks: [
      Plot.line(rows, { x: "milliseconds", y: "value", stroke: "method", strokeWidth: 1.2, z: "method" }),
      Plot.dot(rows, { x: "milliseconds", y: "value", fill: "method", r: 3 }),
      ...endLabels(rows.map(({ method, milliseconds, value }) => ({ method, x: milliseconds, y: value }))),
    ],
  });
}

/** Mean weights by layer and head, a panel per context. */
export function plotWeights({ k, heads, weights }: WeightPicture): string {
  const cells = weights.flatMap((values, context) =>
    values.map((weight, i) => ({
      weight,
      context: context === k - 1 ? "best (last)" : `${k - context}th best`,
      layer: Math.floor(i / heads) + 1,
      head: (i % heads) + 1,
    })),
  );
  return svg({
    height: 300,
    marginRight: 30,
    fx: { label: null, domain: [...new Set(cells.map(({ context }) => context))] },
    x: { label: "head", ticks: [], padding: 0 },
    y: { label: "layer", padding: 0 },
    color: { type: "linear", scheme: "viridis", legend: false, domain: [0, 1], range: undefined, label: "weight" },
    marks: [Plot.cell(cells, { fx: "context", x: "head", y: "layer", fill: "weight" })],
  });
}

/** How far orders of the same contexts scatter: one bar per method. */
export function plotScatter(scatter: NonNullable<Summary["scatter"]>): string {
  const rows = scatter.map(({ method, deviation }) => ({ method, ...deviation }));
  return svg({
    height: 220,
    marginLeft: 80,
    marginRight: 60,
    x: { label: "standard deviation over orders (nats per token)", grid: true },
    y: { label: null },
    marks: [
      Plot.barX(rows, { x: "value", y: "method", fill: "method" }),
      Plot.ruleY(rows, { x1: "low", x2: "high", y: "method", stroke: "#333" }),
      Plot.text(rows, { x: "high", y: "method", text: (row) => row.value.toPrecision(2), dx: 6, textAnchor: "start" }),
    ],
  });
}

/** Names at the right ends of lines, pushed apart where they would cover each other. */
function endLabels(rows: readonly { method: string; x: number; y: number }[]): Plot.Markish[] {
  const last = new Map<string, { method: string; x: number; y: number }>();
  for (const row of rows) {
    const known = last.get(row.method);
    if (!known || row.x >= known.x) last.set(row.method, row);
  }
  const ends = [...last.values()];
  const ys = rows.map(({ y }) => y);
  const gap = (Math.max(...ys) - Math.min(...ys)) / 22;
  const right = Math.max(...rows.map(({ x }) => x));
  let floor = Number.NEGATIVE_INFINITY;
  const placed = ends
    .sort((a, b) => a.y - b.y)
    .map((end) => {
      const y = Math.max(end.y, floor + gap);
      floor = y;
      return { ...end, x: right, y };
    });
  return [
    Plot.text(placed, { x: "x", y: "y", text: "method", fill: "method", dx: 8, textAnchor: "start", clip: false }),
  ];
}
