/** What all pictures share: an SVG file of its own from Observable Plot, without a browser; colours; line ends. */
import * as Plot from "@observablehq/plot";
import { parseHTML } from "linkedom";
import type { EvaluationMethod } from "../methods.js";

const { document } = parseHTML("<html></html>");

/** Baselines in grey, black and brown, compositions in hues that the colour-blind tell apart; all dark enough to read. */
const colors: Record<EvaluationMethod, string> = {
  none: "#767676",
  "best-1": "#767676",
  concat: "#000000",
  "concat-best-first": "#000000",
  "piconcat-r": "#8c5a2b",
  soup: "#b87700",
  caso: "#0072b2",
  "caso-best-first": "#0072b2",
  "picaso-r": "#009e73",
  "picaso-s": "#d55e00",
};

export const width = 800;
/** Room for the names at the ends of lines. */
const labelRoom = 140;

/** An SVG document on white, sized in pixels, that needs no style from elsewhere. */
export function svg(options: Plot.PlotOptions & { height: number }): string {
  const figure = Plot.plot({
    document: document as unknown as Document,
    width,
    marginTop: 30,
    marginRight: labelRoom,
    marginBottom: 45,
    marginLeft: 60,
    style: { fontSize: "12px", fontFamily: "Helvetica, Arial, sans-serif", background: "white", color: "black" },
    ...options,
    color: { domain: Object.keys(colors), range: Object.values(colors), ...options.color },
  });
  figure.setAttribute("xmlns", "http://www.w3.org/2000/svg");
  return figure.outerHTML.replace(/^<svg[^>]*>/, '$&<rect width="100%" height="100%" fill="white"/>');
}

/** Pictures one below the other in one SVG document. */
export function stacked(parts: readonly { svg: string; height: number }[]): string {
  let y = 0;
  const placed = parts.map(({ svg, height }) => {
    const part = svg.replace("<svg ", `<svg y="${y}" `);
    y += height;
    return part;
  });
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${y}" viewBox="0 0 ${width} ${y}">${placed.join("")}</svg>`;
}

export interface Point {
  method: EvaluationMethod;
  x: number;
  y: number;
}

export interface LineStyle {
  opacity?: number;
  strokeWidth?: number;
}

/** A line for each method; dashed where the best context comes first. PICASO-R is broad: S often covers it. */
export function methodLines(points: readonly Point[], { opacity = 1, strokeWidth = 1.8 }: LineStyle = {}) {
  const lines = (wanted: (method: EvaluationMethod) => boolean, options: Plot.LineOptions) =>
    Plot.line(
      points.filter(({ method }) => wanted(method)),
      { x: "x", y: "y", z: "method", stroke: "method", strokeWidth, strokeOpacity: opacity, ...options },
    );
  const isDashed = (method: EvaluationMethod) => method.endsWith("-best-first");
  return [
    lines((method) => method === "picaso-r", { strokeWidth: 3 * strokeWidth, strokeOpacity: 0.45 * opacity }),
    lines((method) => method !== "picaso-r" && !isDashed(method), {}),
    lines(isDashed, { strokeDasharray: "5 4" }),
  ];
}

/** The range of values with a little room at both ends. */
export function domainOf(values: readonly number[], room = 0.05): [low: number, high: number] {
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const extra = (high - low || 1) * room;
  return [low - extra, high + extra];
}

/**
 * Names at the right edge, each at the height of its method's last point, that of the largest k, moved where they would
 * cover each other.
 * `height` is that of the drawing, `domain` that of its y axis.
 */
export function endLabels(points: readonly Point[], domain: readonly [number, number], height: number): Plot.Markish {
  const last = new Map(points.map((point) => [point.method, point]));
  const [low, high] = domain;
  const gap = ((high - low) * 14) / height;
  const ends = [...last.values()].sort((a, b) => a.y - b.y);
  const ys = spread(
    ends.map(({ y }) => y),
    gap,
    high,
  );
  const labels = ends.map(({ method }, i) => ({ method, y: ys[i]! }));
  return Plot.text(labels, {
    frameAnchor: "right",
    y: "y",
    text: "method",
    fill: "method",
    dx: 10,
    textAnchor: "start",
  });
}

/** Ascending values moved apart to at least `gap`, the last at most at `high`. */
function spread(values: readonly number[], gap: number, high: number): number[] {
  const moved = [...values];
  for (let i = 1; i < moved.length; i++) moved[i] = Math.max(moved[i]!, moved[i - 1]! + gap);
  let ceiling = high;
  for (let i = moved.length - 1; i >= 0; i--) {
    moved[i] = Math.min(moved[i]!, ceiling);
    ceiling = moved[i]! - gap;
  }
  return moved;
}
