/** The picture of composition weights: a panel for each context, a cell for each head of each layer. */
import * as Plot from "@observablehq/plot";
import type { WeightPicture } from "../weight-picture.js";
import { stacked, svg } from "./svg.js";

const color = { type: "linear", scheme: "viridis", domain: [0, 1], range: undefined } as const;
const margins = { marginLeft: 50, marginRight: 20 };

export function plotWeights({ k, layers, heads, weights }: WeightPicture): string {
  const cells = weights.flatMap((values, context) =>
    values.map((weight, i) => ({
      weight,
      context: contextName(k - context),
      layer: Math.floor(i / heads) + 1,
      head: (i % heads) + 1,
    })),
  );
  const every = (count: number) => Array.from({ length: count }, (_, i) => i + 1).filter((i) => i % gap(count) === 0);
  const height = 80 + Math.min(400, 16 * layers);
  const panels = svg({
    height,
    ...margins,
    fx: { label: null, domain: [...new Set(cells.map(({ context }) => context))] },
    x: { label: "head", labelAnchor: "center", ticks: every(heads), padding: 0.04 },
    y: { label: "layer", labelAnchor: "center", ticks: every(layers), padding: 0.04 },
    color,
    marks: [Plot.cell(cells, { fx: "context", x: "head", y: "layer", fill: "weight" })],
  });
  return stacked([
    { svg: panels, height },
    { svg: scale(), height: 60 },
  ]);
}

/** What each colour means. */
function scale(): string {
  const steps = Array.from({ length: 50 }, (_, i) => ({ from: i / 50, to: (i + 1) / 50, value: (i + 0.5) / 50 }));
  return svg({
    ...{ height: 60, ...margins, marginTop: 5, marginBottom: 38, marginRight: 470 },
    x: { label: "weight of the context's state", labelAnchor: "center", domain: [0, 1], ticks: 5 },
    color,
    marks: [Plot.rect(steps, { x1: "from", x2: "to", y1: 0, y2: 1, fill: "value", inset: -0.3 })],
    y: { axis: null },
  });
}

/** Every how many numbers a tick stands. */
function gap(count: number): number {
  return count <= 10 ? 2 : count <= 20 ? 4 : 8 * Math.ceil(count / 64);
}

function contextName(rank: number): string {
  if (rank === 1) return "best context (last)";
  const endings: Record<number, string> = { 2: "nd", 3: "rd" };
  return `${rank}${endings[rank] ?? "th"} best`;
}
