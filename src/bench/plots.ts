/** The benchmark's pictures, as SVG: drawn by Observable Plot on a document without a browser. */
import * as Plot from "@observablehq/plot";
import { parseHTML } from "linkedom";
import type { Measured } from "./run-bench.js";

const { document } = parseHTML("<html></html>");

/** Told apart by the colour-blind; a codec has one hue, from memory and from disk. Further engines get what is left. */
const colors: Record<string, string> = {
  concat: "#000000",
  "f32, memory": "#56b4e9",
  "f32, disk": "#0072b2",
  "bf16, memory": "#5fd3b0",
  "bf16, disk": "#009e73",
  "int8, memory": "#f0b27a",
  "int8, disk": "#d55e00",
};
const further = ["#cc79a7", "#8c6d46", "#666666"];

/** Time to the first token against the number of contexts. */
export function plotAgainstContexts(measured: readonly Measured[], contextTokens: number): string {
  const rows = measured.filter((m) => m.contextTokens === contextTokens);
  return draw({
    rows: rows.map((m) => ({ curve: m.curve, x: m.contexts, ...m.firstToken, limit: m.limitMs })),
    title: `Milliseconds to the first token, contexts of ${contextTokens} tokens`,
    x: { label: "contexts k", type: "symlog", constant: 3 },
  });
}

/** Time to the first token, or for all new ones, against the length of the contexts. */
export function plotAgainstTokens(
  measured: readonly Measured[],
  contexts: number,
  what: "firstToken" | "total",
): string {
  const rows = measured.flatMap((m) => {
    const spread = m[what];
    return m.contexts === contexts && spread !== null
      ? [{ curve: m.curve, x: m.contextTokens, ...spread, limit: what === "total" ? null : m.limitMs }]
      : [];
  });
  const subject = what === "total" ? "Milliseconds for 64 new tokens" : "Milliseconds to the first token";
  return draw({
    rows,
    title: `${subject}, ${contexts} contexts`,
    x: { label: "tokens of a context c", type: "log", base: 2 },
  });
}

interface Row {
  curve: string;
  x: number;
  median: number;
  fastest: number;
  slowest: number;
  limit: number | null;
}

function draw({ rows, title, x }: { rows: Row[]; title: string; x: Plot.ScaleOptions }): string {
  const names = [...new Set(rows.map(({ curve }) => curve))];
  const free = [...further];
  const range = names.map((name) => colors[name] ?? free.shift() ?? "#999999");
  const limits = rows.filter(({ curve, limit }) => limit !== null && (curve === "concat" || curve === "bf16, disk"));
  const figure = Plot.plot({
    document: document as unknown as Document,
    width: 760,
    height: 430,
    marginTop: 56,
    marginRight: 120,
    marginLeft: 60,
    marginBottom: 42,
    style: { fontSize: "12px", fontFamily: "system-ui, sans-serif", background: "white" },
    color: { domain: names, range },
    x: { ...x, ticks: [...new Set(rows.map((row) => row.x))], tickFormat: "d" },
    y: { label: null, type: "log", grid: true, tickFormat: "~s" },
    marks: [
      Plot.text([title], { frameAnchor: "top-left", dy: -46, fontSize: 14 }),
      Plot.line(limits, {
        x: "x",
        y: "limit",
        z: "curve",
        stroke: "curve",
        strokeDasharray: "2 4",
        strokeOpacity: 0.7,
      }),
      Plot.ruleX(rows, { x: "x", y1: "fastest", y2: "slowest", stroke: "curve", strokeOpacity: 0.35 }),
      Plot.line(rows, { x: "x", y: "median", z: "curve", stroke: "curve", strokeWidth: 1.8 }),
      Plot.dot(rows, { x: "x", y: "median", fill: "curve", r: 2.5 }),
      ...endLabels(rows),
      Plot.text(limits.length > 0 ? ["dotted: the machine's limit for concat and for bf16, disk"] : [], {
        frameAnchor: "top-right",
        dy: -26,
        fill: "#666",
      }),
    ],
  });
  figure.setAttribute("xmlns", "http://www.w3.org/2000/svg");
  return figure.outerHTML;
}

/** Names at the right ends of lines, pushed apart where they would cover each other. */
function endLabels(rows: readonly Row[]): Plot.Markish[] {
  const right = Math.max(...rows.map(({ x }) => x));
  // Of all that the axis spans.
  const values = rows.flatMap(({ fastest, slowest, limit }) => [fastest, slowest, limit ?? fastest]).map(Math.log);
  const gap = (Math.max(...values) - Math.min(...values)) / 22;
  const ends = [...new Set(rows.map(({ curve }) => curve))].map((curve) => {
    const own = rows.filter((row) => row.curve === curve);
    return own.reduce((last, row) => (row.x > last.x ? row : last));
  });
  let floor = Number.NEGATIVE_INFINITY;
  const placed = ends
    .sort((a, b) => a.median - b.median)
    .map(({ curve, median }) => {
      floor = Math.max(Math.log(median), floor + gap);
      return { curve, x: right, y: Math.exp(floor) };
    });
  return [Plot.text(placed, { x: "x", y: "y", text: "curve", fill: "curve", dx: 8, textAnchor: "start", clip: false })];
}
