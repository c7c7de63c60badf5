/** Loss and gradients against golden data of an independent float64 implementation, and against inference. */
import { readFile } from "node:fs/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { fixture, Golden, type GoldenName, makeGoldenFolder, relativeError } from "../../../test/support/golden.js";
import { randomTokens } from "../../../test/support/random-tokens.js";
import { useScratch } from "../../../test/support/scratch.js";
import { compose } from "../../compose/compose.js";
import { compositionMethods } from "../../compose/weights.js";
import { openSafetensors } from "../../model/checkpoint/safetensors-source.js";
import { readFloats } from "../../model/checkpoint/values.js";
import { type Mamba2Config, parseMamba2Config } from "../../model/config.js";
import { LanguageModel } from "../../model/language-model.js";
import { parameterShapes } from "../../model/parameters.js";
import type { GradientExample } from "./check-inputs.js";
import { GradientEngine, type GradientOptions } from "./gradient-engine.js";
import { Head } from "./head.js";

/**
 * What is required, relative to the largest value of each tensor. The gradient of A_log comes nearest, where chunks are
 * long: it follows from differences of sums over a chunk, which round with the size of the sums.
 */
const tolerance = 1e-4;

const scratch = useScratch();

async function goldenModel(name: GoldenName): Promise<{ config: Mamba2Config; parameters: Map<string, Float32Array> }> {
  const path = fixture(name, "config.json");
  const config = parseMamba2Config(await readFile(path, "utf8"), path);
  const source = await openSafetensors(fixture(name, "model.safetensors"));
  const parameters = new Map<string, Float32Array>();
  for (const parameter of parameterShapes(config).keys()) {
    parameters.set(parameter, await readFloats(source, parameter));
  }
  await source.close();
  return { config, parameters };
}

describe.each<GoldenName>(["golden-g1", "golden-g2"])("%s", (name) => {
  let golden: Golden;
  let config: Mamba2Config;
  let parameters: Map<string, Float32Array>;
  beforeAll(async () => {
    golden = await Golden.read(name);
    ({ config, parameters } = await goldenModel(name));
  });

  async function withEngine<R>(
    options: Omit<GradientOptions, "threads">,
    use: (engine: GradientEngine) => Promise<R>,
    of: Mamba2Config = config,
  ): Promise<R> {
    const engine = new GradientEngine(of, { ...options, threads: 1 });
    try {
      return await use(engine);
    } finally {
      await engine.dispose();
    }
  }

  const tokens = (count: number, seed: number) => randomTokens(count, config.vocabSize, seed);

  /** Lengths of one chunk and of several, numbers of contexts from none to three. */
  function examples(): GradientExample[] {
    return [
      { contexts: [tokens(200, 1), tokens(7, 2), tokens(130, 3)], query: tokens(140, 4), target: tokens(9, 5) },
      { contexts: [], query: tokens(3, 6), target: tokens(2, 7) },
      { contexts: [tokens(2, 8)], query: tokens(1, 9), target: tokens(1, 10) },
      { contexts: [tokens(40, 11), tokens(1, 12)], query: tokens(20, 13), target: tokens(30, 14) },
    ];
  }

  describe.each(["bptc", "bp2c"] as const)("%s", (mode) => {
    test.each(["soup", "picaso-r", "picaso-s"] as const)("golden loss and gradients, %s", async (method) => {
      const [first, ...target] = golden.values("query.ids") as [number, ...number[]];
      const contexts = [0, 1, 2].map((k) => golden.values(`ctx${k}.ids`));
      const given = [{ contexts, query: [first], target }];
      const result = await withEngine({ method, mode }, (engine) => engine.lossAndGradients(parameters, given));
      expect(result.tokens).toBe(8);
      expect(relativeError([result.loss], golden.values(`${mode}.${method}.loss`))).toBeLessThan(1e-6);
      const errors = [...result.gradients].map(([parameter, gradient]) => {
        return relativeError(gradient, golden.values(`${mode}.${method}.grad.${parameter}`));
      });
      expect(errors).toHaveLength(parameters.size);
      console.log(`${name} ${mode} ${method}: largest error of a gradient ${Math.max(...errors).toExponential(1)}`);
      for (const [i, error] of errors.entries()) expect(error, [...parameters.keys()][i]).toBeLessThan(tolerance);
    });

    test.each(compositionMethods)("a batch has the mean of its examples' gradients, %s", async (method) => {
      await withEngine({ method, mode }, async (engine) => {
        const whole = await engine.lossAndGradients(parameters, examples());
        const mean = new Map([...parameters].map(([parameter, { length }]) => [parameter, new Float64Array(length)]));
        for (const example of examples()) {
          const one = await engine.lossAndGradients(parameters, [example]);
          for (const [parameter, gradient] of one.gradients) {
            const sums = mean.get(parameter)!;
            for (let i = 0; i < sums.length; i++) sums[i]! += (gradient[i]! * one.tokens) / whole.tokens;
          }
        }
        for (const [parameter, gradient] of whole.gradients) {
          expect(relativeError(gradient, mean.get(parameter)!), parameter).toBeLessThan(tolerance);
        }
      });
    });
  });

  test.each(["bptc", "bp2c"] as const)("%s: gradients are the same where products are computed again", async (mode) => {
    const [kept, again] = await Promise.all(
      [true, false].map((keepsProducts) =>
        withEngine({ method: "picaso-r", mode, keepsProducts }, (engine) =>
          engine.lossAndGradients(parameters, examples()),
        ),
      ),
    );
    for (const [parameter, gradient] of kept!.gradients) {
      expect(relativeError(again!.gradients.get(parameter)!, gradient), parameter).toBeLessThan(1e-6);
    }
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
    const { loss, tokens: count } = await withEngine({ method, mode: "bptc" }, (engine) =>
      engine.loss(parameters, examples()),
    );
    expect(count).toBe(losses.length);
    expect(relativeError([loss], [losses.reduce((a, b) => a + b) / losses.length])).toBeLessThan(1e-6);
  });

  test("the loss changes along a direction as the gradient says, over several chunks and for caso", async () => {
    // Limits of time steps are kinks: around one, differences show the gradients of both of its sides.
    const smooth: Mamba2Config = { ...config, timeStepLimit: [0, Number.POSITIVE_INFINITY] };
    const slopes = async (engine: GradientEngine) => {
      const { gradients } = await engine.lossAndGradients(parameters, examples());
      const moved = (step: number) => {
        return new Map(
          [...parameters].map(([parameter, values], p) => {
            const noise = tokens(values.length, 50 + p);
            const size = Math.sqrt(values.reduce((sum, x) => sum + x * x, 0) / values.length);
            return [parameter, values.map((x, i) => x + step * size * (noise[i]! / config.vocabSize - 0.5))];
          }),
        );
      };
      const at = async (step: number) => (await engine.loss(moved(step), examples())).loss;
      const direction = moved(1);
      let slope = 0;
      for (const [parameter, gradient] of gradients) {
        const [from, to] = [parameters.get(parameter)!, direction.get(parameter)!];
        for (let i = 0; i < from.length; i++) slope += gradient[i]! * (to[i]! - from[i]!);
      }
      const h = 0.01;
      const difference = (8 * ((await at(h)) - (await at(-h))) - ((await at(2 * h)) - (await at(-2 * h)))) / (12 * h);
      console.log(`${name}: slope ${slope}, by differences ${difference}`);
      expect(Math.abs(slope - difference)).toBeLessThan(2e-4 * Math.abs(slope));
    };
    await withEngine({ method: "caso", mode: "bptc" }, slopes, smooth);
  });

  test("the head in blocks gives what it gives in one", async () => {
    const residual = Float32Array.from(tokens(9 * config.hiddenSize, 3), (x) => x / config.vocabSize - 0.5);
    const positions = { rows: [1, 4, 5, 7, 8], targets: tokens(5, 4) };
    const run = async (blockRows?: number) => {
      const head = new Head(config, 1, blockRows);
      const gradients = new Map(
        [...parameters].map(([parameter, { length }]) => [parameter, new Float32Array(length)]),
      );
      const result = await head.lossAndGradients(parameters, residual, positions, gradients);
      const loss = await head.loss(parameters, residual, positions);
      await head.dispose();
      return { ...result, alone: loss, ...Object.fromEntries(gradients) };
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

describe("what does not fit", () => {
  let engine: GradientEngine;
  let parameters: Map<string, Float32Array>;
  const fine = { contexts: [[1], []], query: [1], target: [2] };
  beforeAll(async () => {
    const model = await goldenModel("golden-g1");
    parameters = model.parameters;
    engine = new GradientEngine(model.config, { method: "soup", mode: "bptc", threads: 1 });
  });
  afterAll(() => engine.dispose());

  test.each([
    [[], "examples"],
    [[fine, { ...fine, query: [] }], "examples[1].query"],
    [[{ ...fine, target: [] }], "examples[0].target"],
    [[{ ...fine, target: [288] }], "examples[0].target"],
    [[{ ...fine, query: [-1] }], "examples[0].query"],
    [[{ ...fine, contexts: [[1], [0.5]] }], "examples[0].contexts[1]"],
  ])("examples %j", async (examples, where) => {
    const refusal = { code: "bad-argument", details: { where } };
    await expect(engine.lossAndGradients(parameters, examples)).rejects.toMatchObject(refusal);
    await expect(engine.loss(parameters, examples)).rejects.toMatchObject(refusal);
  });

  test("parameters that are missing, of another size, or too many", async () => {
    const name = "backbone.layers.1.mixer.D";
    const lacking = new Map(parameters);
    lacking.delete(name);
    const refusal = (where: string) => ({ code: "mismatch", details: { where: `parameter ${where}` } });
    await expect(engine.loss(lacking, [fine])).rejects.toMatchObject(refusal(name));
    const short = new Map(parameters).set(name, new Float32Array(3));
    await expect(engine.loss(short, [fine])).rejects.toMatchObject(refusal(name));
    const more = new Map(parameters).set("more", new Float32Array(3));
    await expect(engine.loss(more, [fine])).rejects.toMatchObject(refusal("more"));
  });
});
