/** Gradients on a graphics card, or on Debian's Chromium's software device, against a float64 reference. */
import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { expect, test } from "vitest";
import { Golden } from "./support/golden.js";
import { webGpuEnvironment } from "./support/webgpu-process.js";
import type { GradientReport } from "./support/webgpu-training.js";

const program = fileURLToPath(new URL("support/webgpu-training.ts", import.meta.url));

// Shaders for a processor without a graphics card are compiled for half a minute.
const timeout = 300_000;

test.for([
  ["bptc", "picaso-s"],
  ["bp2c", "picaso-r"],
] as const)("%s, %s: loss and every gradient", { timeout }, async ([mode, method], { skip }) => {
  const args = ["--import", "tsx", program, mode, method];
  const { stdout } = await promisify(execFile)(process.execPath, args, { env: webGpuEnvironment() });
  const { missing, loss, distances } = JSON.parse(stdout) as GradientReport;
  if (missing !== null) return skip(missing);
  const golden = await Golden.read("golden-g1");
  expect(loss).toBeCloseTo(golden.values(`${mode}.${method}.loss`)[0]!, 4);
  expect(Object.keys(distances).length).toBeGreaterThan(20);
  for (const [parameter, distance] of Object.entries(distances)) expect(distance, parameter).toBeLessThan(1e-4);
});
