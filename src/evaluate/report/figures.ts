/** Which pictures a run has, under which file names, and what is to be seen on them. */
import type { Summary } from "../summary.js";
import type { Timing } from "../timing.js";
import type { WeightPicture } from "../weight-picture.js";
import { plotByContexts, plotOverConcat, plotQualityTime, plotScatter } from "./plots.js";
import { plotWeights } from "./weights-plot.js";

export interface Measured {
  summary: Summary;
  timings: readonly Timing[];
  weights: readonly WeightPicture[];
}

export interface Figure {
  /** File name without its ending. */
  name: string;
  svg: string;
  caption: string;
}

export function figuresOf({ summary, timings, weights }: Measured): Figure[] {
  const { methods, scatter } = summary;
  const figures: Figure[] = [];
  const add = (name: string, svg: string | null, caption: string) => {
    if (svg) figures.push({ name, svg, caption });
  };
  if (methods.some(({ method }) => method !== "none" && method !== "best-1")) {
    add(
      "log-perplexity",
      plotByContexts(methods, ({ logPerplexity }) => logPerplexity, "log-perplexity (nats per token)"),
      "Mean loss of the target's tokens against the number of contexts; lower is better. Dashed curves take the best " +
        "context first, dotted levels have no context or the best alone. The table has the 95% intervals.",
    );
  }
  if (methods.some(({ f1, k }) => f1 && k > 0)) {
    add(
      "f1",
      plotByContexts(methods, ({ f1 }) => f1, "F1 of the answer"),
      "Token F1 of greedy answers against the references by number of contexts; higher is better.",
    );
  }
  add(
    "over-concat",
    plotOverConcat(methods),
    "How much each method loses against concatenation of as many contexts (best last), paired by query, with 95% " +
      "intervals: left of the line it is better than concatenation.",
  );
  if (timings.length > 0) {
    add(
      "quality-time",
      plotQualityTime(summary, timings),
      "Quality against the median time from stored states (or, for concatenation, the contexts' tokens) to the first " +
        "token. Larger dots have more contexts; down and to the left is better.",
    );
  }
  if (scatter) {
    add(
      "scatter",
      plotScatter(scatter),
      "How far the loss scatters when the same contexts come in random orders, with 95% intervals over queries: 0 " +
        "means that the order does not matter.",
    );
  }
  for (const picture of weights) {
    add(
      `weights-${picture.method}`,
      plotWeights(picture),
      `Weights of ${picture.method} over ${picture.k} contexts, averaged over queries; a panel for each context, a cell ` +
        `for each head of each layer. 1 keeps the context's state whole, 0 forgets it; soup would be ` +
        `${Number((1 / picture.k).toFixed(3))} everywhere.`,
    );
  }
  return figures;
}
