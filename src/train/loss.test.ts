/** Loss and gradients against golden data of an independent float64 implementation. */
import { beforeAll, describe, expect, test } from "vitest";
import { Golden, type GoldenName } from "../../test/support/golden.js";
import type { CompositionMethod } from "../compose/weights.js";
import { Random } from "../evaluate/random.js";
import type { TrainingExample } from "./example.js";
import { type GradientMode, TrainingLoss } from "./loss.js";
import { type BatchLimits, placeMicroBatch, planMicroBatches } from "./micro-batch.js";
import { GradientSums, TrainedParameters } from "./parameters.js";
import { distance, goldenExample, goldenParameters, goldenValues, readSums } from "./test-support.js";

/** Mean loss over all targets of the examples, and its gradient, in micro-batches within the limits. */
async function lossAndGradients(
  parameters: TrainedParameters,
  loss: TrainingLoss,
  examples: TrainingExample[],
  limits: BatchLimits = { groupTokens: 128, contexts: 100 },
): Promise<{ value: number; gradients: Map<string, Float32Array> }> {
  const targets = examples.reduce((total, { target }) => total + target.length, 0);
  const sums = new GradientSums(parameters);
  let value = 0;
  for (const part of planMicroBatches(examples, limits)) {
    const batch = placeMicroBatch(part, limits.groupTokens, 1 / targets);
    value += await loss.accumulate(parameters, batch, sums);
    batch.dispose();
  }
  const gradients = await readSums(sums);
  sums.dispose();
  return { value, gradients };
}

describe.each<GoldenName>(["golden-g1", "golden-g2"])("%s", (name) => {
  let golden: Golden;
  let parameters: TrainedParameters;
  beforeAll(async () => {
    golden = await Golden.read(name);
    parameters = await goldenParameters(name);
  });

  const cases: [GradientMode, CompositionMethod][] = (["bptc", "bp2c"] as const).flatMap((mode) =>
    (["picaso-r", "picaso-s", "soup"] as const).map((method): [GradientMode, CompositionMethod] => [mode, method]),
  );
  test.each(cases)("%s %s", async (mode, method) => {
    const loss = new TrainingLoss(parameters.config, { method, mode });
    const { value, gradients } = await lossAndGradients(parameters, loss, [goldenExample(golden, 3)]);
    expect(value).toBeCloseTo(golden.values(`${mode}.${method}.loss`)[0]!, 4);
    const errors = [...gradients].map(([parameter, gradient]) => ({
      parameter,
      error: distance(gradient, golden.values(`${mode}.${method}.grad.${parameter}`)),
    }));
    for (const { parameter, error } of errors) expect(error, parameter).toBeLessThan(1e-4);
    expect(errors.length).toBe(parameters.names().length);
  });

  test("caso: the slope along a random direction, against differences of the loss", async () => {
    const loss = new TrainingLoss(parameters.config, { method: "caso", mode: "bptc" });
    const example = goldenExample(golden, 3);
    const { gradients } = await lossAndGradients(parameters, loss, [example]);
    const values = await goldenValues(name);
    const random = Random.of(1);
    // Each parameter moves in proportion to its own size.
    const directions = new Map<string, Float32Array>();
    let slope = 0;
    for (const [parameter, { data }] of values) {
      const size = Math.sqrt(data.reduce((sum, x) => sum + x * x, 0) / data.length);
      const direction = data.map(() => size * (random.float() - 0.5));
      directions.set(parameter, direction);
      slope += direction.reduce((sum, x, i) => sum + x * gradients.get(parameter)![i]!, 0);
    }
    const lossAt = async (step: number) => {
      const moved = [...values].map(([parameter, { shape, data }]) => {
        return [parameter, { shape, data: data.map((x, i) => x + step * directions.get(parameter)![i]!) }] as const;
      });
      const at = new TrainedParameters(parameters.config, new Map(moved), new Set());
      const batch = placeMicroBatch([example], 128, 1 / example.target.length);
      const value = await loss.evaluate(at, batch);
      batch.dispose();
      at.dispose();
      return value;
    };
    const step = 2e-3;
    const difference = ((await lossAt(step)) - (await lossAt(-step))) / (2 * step);
    // The losses have 6 digits, so their difference has 3 or 4.
    expect(Math.abs(difference - slope) / Math.abs(slope)).toBeLessThan(2e-3);
  });

  describe.each<GradientMode>(["bptc", "bp2c"])("%s, many examples", (mode) => {
    test("in one batch, in many, or with contexts cut into small groups: the same", async () => {
      const loss = new TrainingLoss(parameters.config, { method: "picaso-s", mode });
      const random = Random.of(2);
      const draw = (length: number) => Array.from({ length }, () => random.below(parameters.config.vocabSize));
      const examples = [2, 0, 5, 1].map((contexts, i) => ({
        contexts: Array.from({ length: contexts }, (_, k) => draw(3 + 11 * k)),
        query: draw(1 + 7 * i),
        target: draw(4 + i),
      }));
      const reference = await lossAndGradients(parameters, loss, examples, { groupTokens: 512, contexts: 100 });
      for (const limits of [
        { groupTokens: 512, contexts: 1 },
        { groupTokens: 64, contexts: 100 },
      ]) {
        const { value, gradients } = await lossAndGradients(parameters, loss, examples, limits);
        expect(value).toBeCloseTo(reference.value, 5);
        for (const [parameter, gradient] of gradients) {
          expect(distance(gradient, reference.gradients.get(parameter)!), parameter).toBeLessThan(1e-5);
        }
      }
    });
  });
});
