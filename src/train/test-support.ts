/** For the tests of this room: golden models, examples, and a training that is the same in every process. */
import { readFile } from "node:fs/promises";
import { fixture, type Golden, type GoldenName } from "../../test/support/golden.js";
import { Random } from "../evaluate/random.js";
import { openSafetensors } from "../model/checkpoint/safetensors-source.js";
import { readFloats } from "../model/checkpoint/values.js";
import { type Mamba2Config, parseMamba2Config } from "../model/config.js";
import { fixedExamples, type TrainingExample } from "./example.js";
import type { TrainOptions } from "./options.js";

export async function goldenConfig(name: GoldenName): Promise<Mamba2Config> {
  const path = fixture(name, "config.json");
  return parseMamba2Config(await readFile(path, "utf8"), path);
}

export async function goldenValues(name: GoldenName): Promise<Map<string, Float32Array>> {
  const source = await openSafetensors(fixture(name, "model.safetensors"));
  const values = new Map<string, Float32Array>();
  for (const tensor of source.tensors.keys()) values.set(tensor, await readFloats(source, tensor));
  await source.close();
  return values;
}

/** Contexts 0 to `contexts` - 1 of the golden data; the query's tokens from the second on are scored. */
export function goldenExample(golden: Golden, contexts: number): TrainingExample {
  const [first, ...rest] = golden.values("query.ids") as [number, ...number[]];
  return {
    contexts: Array.from({ length: contexts }, (_, k) => golden.values(`ctx${k}.ids`)),
    query: [first],
    target: rest,
  };
}

/** Norm of the difference over the norm of the reference. */
export function distance(found: ArrayLike<number>, reference: ArrayLike<number>): number {
  if (found.length !== reference.length) throw new Error(`${found.length} values against ${reference.length}`);
  let difference = 0;
  let size = 0;
  for (let i = 0; i < reference.length; i++) {
    difference += (found[i]! - reference[i]!) ** 2;
    size += reference[i]! ** 2;
  }
  return size > 0 ? Math.sqrt(difference / size) : Math.sqrt(difference);
}

/** Examples of random tokens, the same for the same seed. */
export function randomExamples(count: number, vocabSize: number, seed: number): TrainingExample[] {
  const random = Random.of(seed);
  const draw = (least: number, most: number) => {
    return Array.from({ length: least + random.below(most - least + 1) }, () => random.below(vocabSize));
  };
  return Array.from({ length: count }, () => ({
    contexts: Array.from({ length: random.below(4) }, () => draw(4, 30)),
    query: draw(1, 12),
    target: draw(3, 12),
  }));
}

/** A training of golden-g1 on random examples that is the same in every process. */
export function goldenTraining(model: string, output: string, changes: Partial<TrainOptions> = {}): TrainOptions {
  return {
    model,
    output,
    examples: () => fixedExamples(randomExamples(12, 288, 3)),
    batchSize: 3,
    epochs: 3,
    maxSteps: 10,
    learningRate: 2e-3,
    warmupSteps: 2,
    weightDecay: 0.01,
    schedule: "cosine",
    groupTokens: 192,
    checkpointEvery: 2,
    ...changes,
  };
}
