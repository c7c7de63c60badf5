/** The picture of a training, as SVG: loss of each step, its running mean, and validation losses. */
import * as Plot from "@observablehq/plot";
import { parseHTML } from "linkedom";
import type { JournalEntry } from "./journal.js";

const { document } = parseHTML("<html></html>");

const colors = { step: "#bbbbbb", mean: "#0072b2", validation: "#d55e00" };

export function plotLossCurve(entries: readonly JournalEntry[]): string {
  const steps = entries.flatMap(({ step, loss }) => (loss === undefined ? [] : [{ step, loss }]));
  const means = runningMean(steps);
  const validations = entries.flatMap(({ step, validationLoss }) =>
    validationLoss === undefined ? [] : [{ step, loss: validationLoss }],
  );
  const labels = [
    ...means.slice(-1).map((last) => ({ ...last, text: "training (running mean)", color: colors.mean })),
    ...validations.slice(-1).map((last) => ({ ...last, text: "validation", color: colors.validation })),
  ];
  const figure = Plot.plot({
    document: document as unknown as Document,
    width: 760,
    height: 420,
    marginLeft: 55,
    marginRight: 165,
    style: { fontSize: "12px", fontFamily: "system-ui, sans-serif", background: "white" },
    x: { label: "step" },
    y: { label: "loss (nats per target token)", grid: true },
    marks: [
      Plot.lineY(steps, { x: "step", y: "loss", stroke: colors.step, strokeWidth: 1 }),
      Plot.lineY(means, { x: "step", y: "loss", stroke: colors.mean, strokeWidth: 1.8 }),
      Plot.lineY(validations, { x: "step", y: "loss", stroke: colors.validation, strokeWidth: 1.8 }),
      Plot.dot(validations, { x: "step", y: "loss", fill: colors.validation, r: 2.5 }),
      ...labels.map(({ text, color, step, loss }, i) =>
        Plot.text([text], { x: step, y: loss, text: [text], fill: color, textAnchor: "start", dx: 8, dy: i * 14 - 7 }),
      ),
    ],
  });
  figure.setAttribute("xmlns", "http://www.w3.org/2000/svg");
  return figure.outerHTML;
}

/** Mean over the steps before that weigh more the later they are: 0.9 of the mean so far, 0.1 of the new loss. */
function runningMean(steps: readonly { step: number; loss: number }[]): { step: number; loss: number }[] {
  let sum = 0;
  let weight = 0;
  return steps.map(({ step, loss }) => {
    sum = 0.9 * sum + 0.1 * loss;
    weight = 0.9 * weight + 0.1;
    return { step, loss: sum / weight };
  });
}
