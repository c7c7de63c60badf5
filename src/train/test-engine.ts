/** Tests that every gradient engine has to pass: loss and gradients against an independent float64 implementation. */
import { beforeAll, describe, expect, test } from "vitest";
import { Golden, type GoldenName } from "../../test/support/golden.js";
import type { CompositionMethod } from "../compose/weights.js";
import { PicasoError } from "../errors.js";
import { Random } from "../evaluate/random.js";
import type { Mamba2Config } from "../model/config.js";
import { loadEngine, type TrainingEngine } from "./engines.js";
import type { EngineOptions, GradientMode } from "./gradient-engine.js";
import { distance, goldenConfig, goldenExample, goldenValues } from "./test-support.js";

const modes: GradientMode[] = ["bptc", "bp2c"];
const goldenMethods: CompositionMethod[] = ["picaso-r", "picaso-s", "soup"];
const cases = modes.flatMap((mode) => goldenMethods.map((method) => ({ mode, method })));

/** Where the machine lacks what the engine needs, the tests skip with its message. */
export function testEngine(engine: TrainingEngine, timeout: number, load = () => loadEngine(engine)): void {
  describe.each<GoldenName>(["golden-g1", "golden-g2"])(`${engine}, %s`, (name) => {
    let golden: Golden;
    let config: Mamba2Config;
    let values: Map<string, Float32Array>;
    let missing: string | null = null;

    const start = async (options: Partial<EngineOptions>) => {
      const limits = { groupTokens: 128, groupContexts: 100 };
      const startEngine = await load();
      return startEngine(config, {
        ...{ method: "picaso-s", mode: "bptc", wanted: new Set(values.keys()) },
        ...{ ...limits, ...options },
      });
    };

    beforeAll(async () => {
      golden = await Golden.read(name);
      config = await goldenConfig(name);
      values = await goldenValues(name);
      try {
        await (await start({})).dispose();
      } catch (error) {
        if (!PicasoError.isInstance(error) || error.code !== "unsupported") throw error;
        missing = error.message;
      }
    }, timeout);

    test.for(cases)("$mode $method", { timeout }, async ({ mode, method }, { skip }) => {
      if (missing !== null) return skip(missing);
      const running = await start({ mode, method });
      const { loss, gradients } = await running.lossAndGradients(values, [goldenExample(golden, 3)]);
      expect(loss).toBeCloseTo(golden.values(`${mode}.${method}.loss`)[0]!, 4);
      expect([...gradients.keys()].sort()).toEqual([...values.keys()].sort());
      for (const [parameter, gradient] of gradients) {
        const reference = golden.values(`${mode}.${method}.grad.${parameter}`);
        expect(distance(gradient, reference), parameter).toBeLessThan(1e-4);
      }
      await running.dispose();
    });

    test("caso: the slope along a random direction, against differences of the loss", { timeout }, async ({ skip }) => {
      if (missing !== null) return skip(missing);
      const running = await start({ method: "caso" });
      const examples = [goldenExample(golden, 3)];
      const { gradients } = await running.lossAndGradients(values, examples);
      const random = Random.of(1);
      // Each parameter moves in proportion to its own size.
      const directions = new Map<string, Float32Array>();
      let slope = 0;
      for (const [parameter, data] of values) {
        const size = Math.sqrt(data.reduce((sum, x) => sum + x * x, 0) / data.length);
        const direction = data.map(() => size * (random.float() - 0.5));
        directions.set(parameter, direction);
        slope += direction.reduce((sum, x, i) => sum + x * gradients.get(parameter)![i]!, 0);
      }
      const lossAt = (step: number) => {
        const moved = [...values].map(([parameter, data]): [string, Float32Array] => {
          return [parameter, data.map((x, i) => x + step * directions.get(parameter)![i]!)];
        });
        return running.loss(new Map(moved), examples);
      };
      const step = 2e-3;
      const difference = ((await lossAt(step)) - (await lossAt(-step))) / (2 * step);
      // The losses have 6 digits, so their difference has 3 or 4.
      expect(Math.abs(difference - slope) / Math.abs(slope)).toBeLessThan(2e-3);
      await running.dispose();
    });

    test.for(modes)("%s: many examples at once or in small groups, the same", { timeout }, async (mode, { skip }) => {
      if (missing !== null) return skip(missing);
      const random = Random.of(2);
      const draw = (length: number) => Array.from({ length }, () => random.below(config.vocabSize));
      const examples = [2, 0, 5, 1].map((contexts, i) => ({
        contexts: Array.from({ length: contexts }, (_, k) => draw(3 + 11 * k)),
        query: draw(1 + 7 * i),
        target: draw(4 + i),
      }));
      const whole = await start({ mode, groupTokens: 512 });
      const reference = await whole.lossAndGradients(values, examples);
      expect(await whole.loss(values, examples)).toBeCloseTo(reference.loss, 5);
      for (const limits of [
        { groupTokens: 512, groupContexts: 1 },
        { groupTokens: 64, groupContexts: 100 },
      ]) {
        const parts = await start({ mode, ...limits });
        const { loss, gradients } = await parts.lossAndGradients(values, examples);
        expect(loss).toBeCloseTo(reference.loss, 5);
        for (const [parameter, gradient] of gradients) {
          expect(distance(gradient, reference.gradients.get(parameter)!), parameter).toBeLessThan(1e-5);
        }
        await parts.dispose();
      }
      await whole.dispose();
    });

    test("gives the gradients asked for, the same as among all", { timeout }, async ({ skip }) => {
      if (missing !== null) return skip(missing);
      const wanted = new Set([...values.keys()].filter((parameter) => /mixer\.(in|out)_proj\.weight$/.test(parameter)));
      const running = await start({ wanted });
      const { gradients } = await running.lossAndGradients(values, [goldenExample(golden, 3)]);
      expect(new Set(gradients.keys())).toEqual(wanted);
      for (const [parameter, gradient] of gradients) {
        const reference = golden.values(`bptc.picaso-s.grad.${parameter}`);
        expect(distance(gradient, reference), parameter).toBeLessThan(1e-4);
      }
      await running.dispose();
    });

    test("stops when the signal fires", { timeout }, async ({ skip }) => {
      if (missing !== null) return skip(missing);
      const running = await start({});
      const stopped = running.lossAndGradients(values, [goldenExample(golden, 1)], AbortSignal.abort());
      await expect(stopped).rejects.toMatchObject({ code: "aborted" });
      await running.dispose();
    });
  });
}
