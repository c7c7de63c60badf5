/** How the learning rate runs over a training: linear warm-up, then down to zero. */

export type ScheduleShape = "linear" | "cosine" | "constant";

export interface ScheduleOptions {
  /** Highest rate. */
  learningRate: number;
  shape: ScheduleShape;
  /** Steps of the linear rise. */
  warmupSteps: number;
  /** Steps of the whole training. */
  steps: number;
}

/** The rate of step `step`, counted from 1. */
export function learningRateAt(step: number, { learningRate, shape, warmupSteps, steps }: ScheduleOptions): number {
  if (step <= warmupSteps) return (learningRate * step) / warmupSteps;
  // The first step after the warm-up has the full rate, and the one after the last would have none.
  const passed = (step - 1 - warmupSteps) / Math.max(1, steps - warmupSteps);
  switch (shape) {
    case "constant":
      return learningRate;
    case "linear":
      return learningRate * (1 - passed);
    case "cosine":
      return (learningRate * (1 + Math.cos(Math.PI * passed))) / 2;
  }
}
