/** The pictures of methods: by number of contexts, against concatenation, against time, over orders. */
import * as Plot from "@observablehq/plot";
import type { Interval } from "../metrics/bootstrap.js";
import type { MethodSummary, Summary } from "../summary.js";
import type { Timing } from "../timing.js";
import { domainOf, endLabels, methodLines, type Point, svg } from "./svg.js";

const height = 430;
/** Height without margins. */
const inner = height - 75;
const noContext = { strokeDasharray: "2 3", strokeWidth: 1.2 };

/** A figure of each method against the number of contexts. */
export function plotByContexts(
  methods: readonly MethodSummary[],
  figure: (row: MethodSummary) => Interval | undefined,
  label: string,
): string {
  const points = methods.flatMap((row): Point[] => {
    const interval = figure(row);
    return interval ? [{ method: row.method, x: row.k, y: interval.value }] : [];
  });
  const curves = points.filter(({ method }) => method !== "none" && method !== "best-1");
  const level = points.filter(({ method }) => method === "none" || method === "best-1");
  const domain = domainOf(points.map(({ y }) => y));
  const ks = [...new Set(curves.map(({ x }) => x))];
  const isWide = Math.max(...ks) > 12;
  return svg({
    height,
    x: { label: "contexts k", type: isWide ? "log" : "linear", ticks: ks, tickFormat: "d", labelAnchor: "center" },
    y: { label: `↑ ${label}`, grid: true, domain, labelArrow: false },
    marks: [
      Plot.ruleY(level, { y: "y", stroke: "method", ...noContext }),
      ...methodLines(curves),
      Plot.dot(curves, { x: "x", y: "y", fill: "method", r: 2.6 }),
      endLabels(points, domain, inner),
    ],
  });
}

/** Each method's log-perplexity less concatenation's on the same queries, with intervals, for up to three k. */
export function plotOverConcat(methods: readonly MethodSummary[]): string | null {
  const compared = methods.filter(({ k, method, overConcat }) => k > 1 && method !== "best-1" && overConcat);
  const ks = [...new Set(compared.map(({ k }) => k))];
  if (ks.length === 0) return null;
  // The smallest, the one nearest to ten (the largest k of the paper), and the largest.
  const ten = ks.toSorted((a, b) => Math.abs(a - 10) - Math.abs(b - 10))[0]!;
  const shown = [...new Set([Math.min(...ks), ten, Math.max(...ks)])];
  const rows = compared
    .filter(({ k }) => shown.includes(k))
    .map(({ method, k, overConcat }) => ({ method, panel: `k = ${k}`, ...overConcat! }));
  return svg({
    height: 75 + 26 * new Set(rows.map(({ method }) => method)).size,
    marginLeft: 130,
    marginRight: 20,
    x: { label: "log-perplexity over that of concat (nats per token)", labelAnchor: "center", ticks: 4, grid: true },
    y: { label: null, domain: [...new Set(rows.map(({ method }) => method))] },
    fx: { label: null, domain: shown.map((k) => `k = ${k}`) },
    marks: [
      Plot.ruleX([0], { stroke: "#000" }),
      Plot.ruleY(rows, { fx: "panel", y: "method", x1: "low", x2: "high", stroke: "method", strokeWidth: 2 }),
      Plot.dot(rows, { fx: "panel", y: "method", x: "value", fill: "method", r: 4 }),
    ],
  });
}

/** Log-perplexity against the time to the first token: down and to the left is better; larger dots for larger k. */
export function plotQualityTime({ methods }: Summary, timings: readonly Timing[]): string {
  const points = timings.flatMap(({ method, k, milliseconds }) => {
    const quality = methods.find((each) => each.method === method && each.k === k);
    return quality ? [{ method, k, x: milliseconds, y: quality.logPerplexity.value }] : [];
  });
  const domain = domainOf(points.map(({ y }) => y));
  const [low, high] = domainOf(
    points.map(({ x }) => Math.log10(x)),
    0.04,
  );
  return svg({
    height,
    x: {
      ...{ type: "log", domain: [10 ** low, 10 ** high], grid: true, labelAnchor: "center" },
      ...{ label: "time to the first token (ms, logarithmic)", ticks: 8, tickFormat: ",d" },
    },
    y: { label: "↑ log-perplexity (nats per token)", grid: true, domain, labelArrow: false },
    r: { type: "sqrt", range: [2, 7] },
    marks: [
      ...methodLines(points, { opacity: 0.35, strokeWidth: 1.2 }),
      Plot.dot(points, {
        x: "x",
        y: "y",
        r: "k",
        fill: "method",
        fillOpacity: 0.85,
        stroke: "white",
        strokeWidth: 0.5,
      }),
      endLabels(points, domain, inner),
    ],
  });
}

/** How far orders of the same contexts scatter: a bar for each method. */
export function plotScatter(scatter: NonNullable<Summary["scatter"]>): string {
  const rows = scatter.map(({ method, deviation }) => ({ method, ...deviation }));
  const digits = ({ value }: Interval) => (value < 1e-6 ? "0" : value.toPrecision(2));
  return svg({
    height: 200,
    marginLeft: 130,
    marginRight: 70,
    x: { label: "standard deviation over orders (nats per token)", labelAnchor: "center", grid: true },
    y: { label: null, domain: rows.map(({ method }) => method) },
    marks: [
      Plot.barX(rows, { x: "value", y: "method", fill: "method", fillOpacity: 0.75, insetTop: 3, insetBottom: 3 }),
      Plot.ruleY(rows, { x1: "low", x2: "high", y: "method", stroke: "#000", strokeWidth: 1.2 }),
      Plot.text(rows, { x: "high", y: "method", text: digits, dx: 8, textAnchor: "start" }),
      Plot.ruleX([0]),
    ],
  });
}
