/**
 * Gradients of a golden model on ONNX Runtime's WebGPU engine, in a process of its own: `node --import tsx
 * webgpu-training.ts MODE METHOD`. Prints {@link GradientReport}.
 */
import { PicasoError } from "../../src/errors.js";
import type { GradientMode } from "../../src/train/gradient-engine.js";
import { StepEngine } from "../../src/train/onnx/step-engine.js";
import { distance, goldenConfig, goldenExample, goldenValues } from "../../src/train/test-support.js";
import { Golden } from "./golden.js";

export interface GradientReport {
  /** What is missing for the device; the rest is then empty. */
  missing: string | null;
  loss: number;
  /** Of each parameter's gradient, the norm of the difference from float64 over that of the reference. */
  distances: Record<string, number>;
}

const [mode, method] = process.argv.slice(2) as [GradientMode, "picaso-r" | "picaso-s" | "soup"];
const [golden, config, values] = await Promise.all([
  Golden.read("golden-g1"),
  goldenConfig("golden-g1"),
  goldenValues("golden-g1"),
]);
const report: GradientReport = { missing: null, loss: 0, distances: {} };
try {
  const limits = { groupTokens: 512, groupContexts: 100 };
  const engine = await StepEngine.start(config, { mode, method, wanted: new Set(values.keys()), ...limits });
  const { loss, gradients } = await engine.lossAndGradients(values, [goldenExample(golden, 3)]);
  report.loss = loss;
  for (const [parameter, gradient] of gradients) {
    const reference = golden.values(`${mode}.${method}.grad.${parameter}`);
    report.distances[parameter] = distance(gradient, reference);
  }
  await engine.dispose();
} catch (error) {
  if (!PicasoError.isInstance(error) || error.code !== "unsupported") throw error;
  report.missing = error.message;
}
process.stdout.write(JSON.stringify(report));
