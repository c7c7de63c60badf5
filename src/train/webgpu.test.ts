/** The same loss and gradients on WebGPU, where there is a device: without one, these tests skip. */
import { beforeAll, describe, expect, test } from "vitest";
import { Golden, makeGoldenFolder } from "../../test/support/golden.js";
import { useScratch } from "../../test/support/scratch.js";
import { startEngine } from "./engine.js";

const scratch = useScratch();

/** Compiling shaders for a processor without a graphics card takes half a minute. */
const patience = 240_000;

describe("webgpu", () => {
  let missing: string | null = null;
  beforeAll(async () => {
    await startEngine("webgpu").catch((error: Error) => {
      missing = error.message;
    });
  });

  test("gradients agree with golden data", { timeout: patience }, async (context) => {
    if (missing !== null) return context.skip(missing);
    const { TrainingLoss } = await import("./loss.js");
    const { placeMicroBatch } = await import("./micro-batch.js");
    const { GradientSums } = await import("./parameters.js");
    const { distance, goldenExample, goldenParameters, readSums } = await import("./test-support.js");
    const golden = await Golden.read("golden-g2");
    const parameters = await goldenParameters("golden-g2");
    const loss = new TrainingLoss(parameters.config, { method: "picaso-s", mode: "bptc" });
    const example = goldenExample(golden, 3);
    const batch = placeMicroBatch([example], 128, 1 / example.target.length);
    const sums = new GradientSums(parameters);
    const value = await loss.accumulate(parameters, batch, sums);
    expect(value).toBeCloseTo(golden.values("bptc.picaso-s.loss")[0]!, 4);
    for (const [name, gradient] of await readSums(sums)) {
      expect(distance(gradient, golden.values(`bptc.picaso-s.grad.${name}`)), name).toBeLessThan(1e-4);
    }
  });

  test("a training runs", { timeout: patience }, async (context) => {
    if (missing !== null) return context.skip(missing);
    const { goldenTraining } = await import("./test-support.js");
    const { train } = await import("./train.js");
    const model = await makeGoldenFolder("golden-g1", scratch.path("model"));
    const options = goldenTraining(model, scratch.path("trained"), { maxSteps: 2, engine: "webgpu" });
    const result = await train(options);
    expect(result.steps).toBe(2);
    // The first two losses of the course on record in train.test.ts, whose schedule is longer.
    expect(result.loss).toBeCloseTo(18.647995, 3);
  });
});
