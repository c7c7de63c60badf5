/** Sequences of several chunks, batches of mixed examples and the head in blocks, beside what every engine has to pass. */
import { beforeAll, describe, expect, test } from "vitest";
import { type GoldenName, makeGoldenFolder, relativeError } from "../../../test/support/golden.js";
import { randomTokens } from "../../../test/support/random-tokens.js";
import { useScratch } from "../../../test/support/scratch.js";
import { compose } from "../../compose/compose.js";
import { compositionMethods } from "../../compose/weights.js";
import type { Mamba2Config } from "../../model/config.js";
import { LanguageModel } from "../../model/language-model.js";
import { countTargets, type TrainingExample } from "../example.js";
import type { EngineOptions } from "../gradient-engine.js";
import { goldenConfig, goldenValues } from "../test-support.js";
import { OnnxEngine } from "./engine.js";
import { GradientSums } from "./gradient-sums.js";
import { Head } from "./head.js";

/**
 * What is required, relative to the largest value of each tensor. The gradient of A_log comes nearest, where chunks are
 * long: it follows from differences of sums over a chunk, which round with the size of the sums.
 */
const tolerance = 1e-4;

const scratch = useScratch();

describe.each<GoldenName>(["golden-g1", "golden-g2"])("%s", (name) => {
  let config: Mamba2Config;
  let parameters: Map<string, Float32Array>;
  beforeAll(async () => {
    [config, parameters] = [await goldenConfig(name), await goldenValues(name)];
  });

  async function withEngine<R>(
    options: Pick<EngineOptions, "method" | "mode">,
    use: (engine: OnnxEngine) => Promise<R>,
    of: Mamba2Config = config,
  ): Promise<R> {
    const limits = { groupTokens: 2048, groupContexts: 32, threads: 1 };
    const engine = new OnnxEngine(of, { ...options, ...limits, wanted: new Set(parameters.keys()) });
    try {
      return await use(engine);
    } finally {
      await engine.dispose();
    }
  }

  const tokens = (count: number, seed: number) => randomTokens(count, config.vocabSize, seed);

  /** Lengths of one chunk and of several, numbers of contexts from none to three. */
  function examples(): TrainingExample[] {
    return [
      { contexts: [tokens(200, 1), tokens(7, 2), tokens(130, 3)], query: tokens(140, 4), target: tokens(9, 5) },
      { contexts: [], query: tokens(3, 6), target: tokens(2, 7) },
      { contexts: [tokens(2, 8)], query: tokens(1, 9), target: tokens(1, 10) },
      { contexts: [tokens(40, 11), tokens(1, 12)], query: tokens(20, 13), target: tokens(30, 14) },
    ];
  }

  describe.each(["bptc", "bp2c"] as const)("%s", (mode) => {
    test.each(compositionMethods)("a batch has the mean of its examples' gradients, %s", async (method) => {
      await withEngine({ method, mode }, async (engine) => {
        const whole = await engine.lossAndGradients(parameters, examples());
        const mean = new Map([...parameters].map(([parameter, { length }]) => [parameter, new Float64Array(length)]));
        for (const example of examples()) {
          const one = await engine.lossAndGradients(parameters, [example]);
          for (const [parameter, gradient] of one.gradients) {
            const sums = mean.get(parameter)!;
            const share = example.target.length / countTargets(examples());
            for (let i = 0; i < sums.length; i++) sums[i]! += gradient[i]! * share;
          }
        }
        for (const [parameter, gradient] of whole.gradients) {
          expect(relativeError(gradient, mean.get(parameter)!), parameter).toBeLessThan(tolerance);
        }
      });
    });
  });

  test.each(compositionMethods)("the loss is that of inference, %s", async (method) => {
    const model = await LanguageModel.load(await makeGoldenFolder(name, scratch.path(name)), { threads: 1 });
    const losses: number[] = [];
    for (const { contexts, query, target } of examples()) {
      const states = await model.encodeMany(contexts);
      const state = states.length > 0 ? compose(states, method) : model.zeroState();
      const [scored] = await model.score([{ tokens: [...query, ...target], state, from: query.length }]);
      losses.push(...scored!);
    }
    await model.dispose();
    const loss = await withEngine({ method, mode: "bptc" }, (engine) => engine.loss(parameters, examples()));
    expect(relativeError([loss], [losses.reduce((a, b) => a + b) / losses.length])).toBeLessThan(1e-6);
  });

  test("the loss changes along a direction as the gradient says, over several chunks and for caso", async () => {
    // Limits of time steps are kinks: around one, differences show the gradients of both of its sides.
    const smooth: Mamba2Config = { ...config, timeStepLimit: [0, Number.POSITIVE_INFINITY] };
    const slopes = async (engine: OnnxEngine) => {
      const { gradients } = await engine.lossAndGradients(parameters, examples());
      const moved = (step: number) => {
        return new Map(
          [...parameters].map(([parameter, values], p) => {
            const noise = tokens(values.length, 50 + p);
            const size = Math.sqrt(values.reduce((sum, x) => sum + x * x, 0) / values.length);
            // Along the gradient's signs, so that the loss changes by more than it is rounded by.
            const signs = gradients.get(parameter)!.map(Math.sign);
            return [parameter, values.map((x, i) => x + (step * size * signs[i]! * noise[i]!) / config.vocabSize)];
          }),
        );
      };
      const at = (step: number) => engine.loss(moved(step), examples());
      const direction = moved(1);
      let slope = 0;
      for (const [parameter, gradient] of gradients) {
        const [from, to] = [parameters.get(parameter)!, direction.get(parameter)!];
        for (let i = 0; i < from.length; i++) slope += gradient[i]! * (to[i]! - from[i]!);
      }
      const h = 3e-4;
      const difference = (8 * ((await at(h)) - (await at(-h))) - ((await at(2 * h)) - (await at(-2 * h)))) / (12 * h);
      expect(Math.abs(slope - difference)).toBeLessThan(2e-5 * Math.abs(slope));
    };
    await withEngine({ method: "caso", mode: "bptc" }, slopes, smooth);
  });

  test("the head in blocks gives what it gives in one", async () => {
    const residual = Float32Array.from(tokens(9 * config.hiddenSize, 3), (x) => x / config.vocabSize - 0.5);
    const positions = { rows: [1, 4, 5, 7, 8], targets: tokens(5, 4) };
    const run = async (blockRows?: number) => {
      const head = new Head(config, 1, blockRows);
      const sums = new GradientSums(parameters, new Set(parameters.keys()));
      const result = await head.lossAndGradients(parameters, residual, positions, 1 / 5, sums);
      const loss = await head.loss(parameters, residual, positions);
      await head.dispose();
      return { ...result, loss: result.loss / 5, alone: loss / 5, ...Object.fromEntries(sums.values) };
    };
    const whole = await run();
    const parts = await run(2);
    expect(parts.loss).toBeCloseTo(whole.loss, 5);
    expect(parts.alone).toBeCloseTo(whole.loss, 5);
    for (const [part, values] of Object.entries(whole)) {
      if (typeof values === "number") continue;
      expect(relativeError(parts[part as "residual"], values), part).toBeLessThan(1e-5);
    }
  });
});
