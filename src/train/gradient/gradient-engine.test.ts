/** Loss and gradients against golden data of an independent float64 implementation. */

import { readFile } from "node:fs/promises";
import { beforeAll, describe, expect, test } from "vitest";
import { fixture, Golden, type GoldenName, relativeError } from "../../../test/support/golden.js";
import { openSafetensors } from "../../model/checkpoint/safetensors-source.js";
import { readFloats } from "../../model/checkpoint/values.js";
import { type Mamba2Config, parseMamba2Config } from "../../model/config.js";
import { parameterShapes } from "../../model/parameters.js";
import { GradientEngine } from "./gradient-engine.js";

async function goldenModel(name: GoldenName): Promise<{ config: Mamba2Config; parameters: Map<string, Float32Array> }> {
  const path = fixture(name, "config.json");
  const config = parseMamba2Config(await readFile(path, "utf8"), path);
  const source = await openSafetensors(fixture(name, "model.safetensors"));
  const parameters = new Map<string, Float32Array>();
  for (const parameter of parameterShapes(config).keys())
    parameters.set(parameter, await readFloats(source, parameter));
  await source.close();
  return { config, parameters };
}

describe.each<GoldenName>(["golden-g1", "golden-g2"])("%s", (name) => {
  let golden: Golden;
  let model: Awaited<ReturnType<typeof goldenModel>>;
  beforeAll(async () => {
    golden = await Golden.read(name);
    model = await goldenModel(name);
  });

  function example() {
    const [first, ...target] = golden.values("query.ids") as [number, ...number[]];
    return { contexts: [0, 1, 2].map((k) => golden.values(`ctx${k}.ids`)), query: [first], target };
  }

  describe.each(["bptc", "bp2c"] as const)("%s", (mode) => {
    test.each(["soup", "picaso-r", "picaso-s"] as const)("%s", async (method) => {
      const engine = new GradientEngine(model.config, { method, mode, threads: 1 });
      const { loss, tokens, gradients } = await engine.lossAndGradients(model.parameters, [example()]);
      await engine.dispose();
      expect(tokens).toBe(8);
      expect(loss).toBeCloseTo(golden.values(`${mode}.${method}.loss`)[0]!, 5);
      const errors = new Map<string, number>();
      for (const [parameter, gradient] of gradients) {
        errors.set(parameter, relativeError(gradient, golden.values(`${mode}.${method}.grad.${parameter}`)));
      }
      console.log(name, mode, method, loss, Math.max(...errors.values()));
      for (const [parameter, error] of errors) expect(error, parameter).toBeLessThan(1e-4);
    });
  });
});
