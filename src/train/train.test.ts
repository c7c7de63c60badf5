/** Whole trainings of a tiny model: their course, interruption, early stopping, and the models they write. */
import { spawn } from "node:child_process";
import { mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { beforeAll, describe, expect, test, vi } from "vitest";
import { fixture, makeGoldenFolder } from "../../test/support/golden.js";
import { useScratch } from "../../test/support/scratch.js";
import { LanguageModel } from "../model/language-model.js";
import { type ExampleSource, fixedExamples, type TrainingExample } from "./example.js";
import type { TrainingProgress, TrainOptions } from "./options.js";
import { distance, goldenTraining, randomExamples } from "./test-support.js";
import { train } from "./train.js";

// Nothing but a training on a graphics card is to load it.
vi.mock("@jax-js/jax", () => {
  throw new Error("jax-js was loaded");
});

const scratch = useScratch();
let model: string;
beforeAll(async () => {
  model = await makeGoldenFolder("golden-g1", scratch.path("model"));
});

/** Trains and returns the losses by step with the result. */
async function run(options: TrainOptions) {
  const losses = new Map<number, number>();
  const events: TrainingProgress[] = [];
  const result = await train({
    ...options,
    onProgress: (progress) => {
      events.push(progress);
      if (progress.phase === "step") losses.set(progress.step, progress.loss);
      options.onProgress?.(progress);
    },
  });
  return { losses, events, result };
}

const losses = (values: Map<number, number>) => [...values.values()];

/**
 * The batches of the golden training, and loss and norm of the gradient at each step in float64 by another
 * implementation: see make.py beside it.
 */
interface Course {
  batches: TrainingExample[][];
  steps: { loss: number; gradientNorm: number }[];
}

describe("the course of ten steps", () => {
  let straight: Awaited<ReturnType<typeof run>>;
  beforeAll(async () => {
    straight = await run(goldenTraining(model, scratch.path("straight")));
  });

  test("is that of an independent implementation", async () => {
    const course = JSON.parse(await readFile(fixture("training", "course.json"), "utf8")) as Course;
    const steps = straight.events.flatMap((event) => (event.phase === "step" ? [event] : []));
    expect(steps.map(({ step }) => step)).toEqual(course.steps.map((_, i) => i + 1));
    for (const [i, { loss, gradientNorm }] of course.steps.entries()) {
      expect(Math.abs(steps[i]!.loss - loss), `loss of step ${i + 1}`).toBeLessThan(1e-5);
      expect(Math.abs(steps[i]!.gradientNorm / gradientNorm - 1), `gradient of step ${i + 1}`).toBeLessThan(1e-5);
    }
  });

  test("trains on the batches that the other implementation had", async () => {
    const course = JSON.parse(await readFile(fixture("training", "course.json"), "utf8")) as Course;
    const batches: TrainingExample[][] = [];
    const fixed = fixedExamples(randomExamples(12, 288, 3));
    const examples = () => ({
      size: fixed.size,
      batch: async (...drawn: Parameters<ExampleSource["batch"]>) => {
        batches.push(await fixed.batch(...drawn));
        return batches.at(-1)!;
      },
    });
    await train(goldenTraining(model, scratch.path("recorded"), { examples }));
    // The first one is what tells one data set from another.
    expect(batches.slice(1)).toEqual(course.batches);
  });

  test("is written down, with its picture", async () => {
    const output = scratch.path("straight");
    const lines = (await readFile(`${output}/training.jsonl`, "utf8")).trimEnd().split("\n");
    const entries = lines.map((line) => JSON.parse(line));
    expect(entries.map(({ step, loss }) => [step, loss])).toEqual([...straight.losses]);
    expect(await readFile(`${output}/loss.svg`, "utf8")).toMatch(/^<svg .*<path /s);
  });

  test("is the same again", async () => {
    const again = await run(goldenTraining(model, scratch.path("again"), { checkpointEvery: 100 }));
    expect(losses(again.losses)).toEqual(losses(straight.losses));
  });

  test("is another for another seed", async () => {
    const other = await run(goldenTraining(model, scratch.path("other"), { seed: 1, maxSteps: 2 }));
    expect(other.losses.get(2)).not.toBe(straight.losses.get(2));
  });

  test("goes on exactly after the process was killed", async () => {
    const output = scratch.path("killed");
    await killAfter(model, output, 5);
    const rest = await run(goldenTraining(model, output));
    // The last checkpoint is that of step 4.
    expect(rest.events[0]).toMatchObject({ phase: "start", step: 4, steps: 10 });
    expect([...rest.losses.keys()]).toEqual([5, 6, 7, 8, 9, 10]);
    for (const [step, loss] of rest.losses) expect(loss, `step ${step}`).toBe(straight.losses.get(step));
    const [one, two] = await Promise.all(
      [output, scratch.path("straight")].map((folder) => readFile(`${folder}/model.safetensors`)),
    );
    expect(one!.equals(two!)).toBe(true);
    expect(await readdir(`${output}/checkpoints`)).toEqual(["step-10"]);
    const journal = (await readFile(`${output}/training.jsonl`, "utf8")).trimEnd().split("\n");
    expect(journal.map((line) => JSON.parse(line).loss)).toEqual(losses(straight.losses));
  });

  test("goes on exactly after it was aborted", async () => {
    const output = scratch.path("aborted");
    const controller = new AbortController();
    const onProgress = (progress: TrainingProgress) => {
      if (progress.phase === "step" && progress.step === 3) controller.abort();
    };
    const stopped = train(goldenTraining(model, output, { signal: controller.signal, onProgress }));
    await expect(stopped).rejects.toMatchObject({ code: "aborted" });
    const rest = await run(goldenTraining(model, output));
    expect([...rest.losses.keys()]).toEqual([4, 5, 6, 7, 8, 9, 10]);
    for (const [step, loss] of rest.losses) expect(loss).toBe(straight.losses.get(step));
  });

  test("with other data, refuses the checkpoint", async () => {
    const examples = () => fixedExamples(randomExamples(12, 288, 4));
    const changed = train(goldenTraining(model, scratch.path("straight"), { examples }));
    await expect(changed).rejects.toMatchObject({ code: "mismatch" });
    await expect(changed).rejects.toThrow(/sample/);
  });

  test("with other options, refuses the checkpoint and names the option", async () => {
    const changed = train(goldenTraining(model, scratch.path("straight"), { learningRate: 1e-3 }));
    await expect(changed).rejects.toMatchObject({ code: "mismatch" });
    await expect(changed).rejects.toThrow(/learningRate of the training.*expected 0.002.*found 0.001/);
  });
});

describe("the written model", () => {
  test.each([
    ["one file", "f32", 1e9],
    ["shards", "f32", 100_000],
    ["bfloat16", "bf16", 1e9],
  ] as const)("%s: opens and computes the trainer's loss", async (name, dtype, maxShardBytes) => {
    const output = scratch.path(`written-${name}`);
    const [example] = randomExamples(1, 288, 9);
    const { result } = await run(
      goldenTraining(model, output, {
        maxSteps: 3,
        dtype,
        maxShardBytes,
        validation: () => fixedExamples([{ ...example!, contexts: [] }]),
      }),
    );
    const files = await readdir(output);
    expect(files.includes("model.safetensors.index.json")).toBe(name === "shards");
    const loaded = await LanguageModel.load(output, { threads: 1 });
    const { query, target } = example!;
    const [scores] = await loaded.score([{ tokens: [...query, ...target], from: query.length }]);
    const mean = scores!.reduce((sum, loss) => sum + loss, 0) / target.length;
    await loaded.dispose();
    // The loss is about 18; bf16 keeps 8 bits of each weight.
    expect(Math.abs(mean - result.validationLoss!)).toBeLessThan(dtype === "f32" ? 2e-5 : 0.05);
  });

  test("with low-rank additions: they are merged in, and nothing else moved", async () => {
    const output = scratch.path("lora");
    const [example] = randomExamples(1, 288, 9);
    const options = { lora: { rank: 4 }, learningRate: 1e-2, validateEvery: 5, batchSize: 1, epochs: 10 };
    const examples = () => fixedExamples([{ ...example!, contexts: [] }]);
    const { result, events } = await run(goldenTraining(model, output, { ...options, examples, validation: examples }));
    const { query, target } = example!;
    const meanLoss = async (folder: string) => {
      const loaded = await LanguageModel.load(folder, { threads: 1 });
      const [scores] = await loaded.score([{ tokens: [...query, ...target], from: query.length }]);
      await loaded.dispose();
      return scores!.reduce((sum, loss) => sum + loss, 0) / target.length;
    };
    expect(Math.abs((await meanLoss(output)) - result.validationLoss!)).toBeLessThan(2e-5);
    expect(Math.abs((await meanLoss(model)) - result.validationLoss!)).toBeGreaterThan(1e-3);
    const steps = events.flatMap((event) => (event.phase === "step" ? event.loss : []));
    expect(steps.length).toBe(10);
    expect(await changedTensors(model, output)).toEqual(
      [0, 1, 2].flatMap((layer) =>
        ["in_proj", "out_proj"].map((part) => `backbone.layers.${layer}.mixer.${part}.weight`),
      ),
    );
  });
});

test("validation keeps the best model and stops when nothing is gained", async () => {
  const validation = () => fixedExamples(randomExamples(4, 288, 77));
  const options = { validation, validateEvery: 1, patience: 3, learningRate: 5e-3, warmupSteps: 0, epochs: 20 };
  const output = scratch.path("early");
  const { events, result } = await run(goldenTraining(model, output, { ...options, maxSteps: 60 }));
  const checks = events.flatMap((event) => (event.phase === "validation" ? [event] : []));
  const best = checks.reduce((a, b) => (b.loss < a.loss ? b : a));
  expect(result.stoppedEarly).toBe(true);
  expect(result.steps).toBe(best.step + 3);
  expect(result.writtenStep).toBe(best.step);
  expect(result.validationLoss).toBe(best.loss);
  expect(checks.filter((check) => check.best).at(-1)).toBe(best);
  // The parameters written are those of that step: trained no further, they give its loss.
  const again = await run(
    goldenTraining(output, scratch.path("early-again"), { validation, maxSteps: 1, learningRate: 1e-12 }),
  );
  expect(again.result.validationLoss).toBeCloseTo(best.loss, 6);
});

test("memorises a few examples", async () => {
  const examples = () => fixedExamples(randomExamples(2, 288, 5));
  const options = { examples, batchSize: 2, epochs: 40, maxSteps: 40, learningRate: 1e-2, checkpointEvery: 100 };
  const { losses: course } = await run(goldenTraining(model, scratch.path("memorised"), options));
  expect(course.get(1)!).toBeGreaterThan(5);
  expect(course.get(40)!).toBeLessThan(0.5);
});

test.each([
  ["batchSize", { batchSize: 0 }],
  ["method", { method: "mean" as never }],
  ["learningRate", { learningRate: Number.NaN }],
  ["lora.rank", { lora: { rank: 0 } }],
  ["output", { output: undefined as never }],
])("names the option %s when it cannot be used", async (name, changes) => {
  const options = goldenTraining(model, scratch.path(`bad-${name}`), changes);
  if (name === "output") options.output = model;
  await expect(train(options)).rejects.toMatchObject({ code: "bad-argument" });
  await expect(train(options)).rejects.toThrow(name);
});

test("does not write into a folder of other things", async () => {
  const output = await makeGoldenFolder("golden-g1", scratch.path("someones"));
  await expect(train(goldenTraining(model, output))).rejects.toMatchObject({ code: "conflict" });
  const documents = scratch.path("documents");
  await mkdir(documents);
  await writeFile(join(documents, "notes.txt"), "mine");
  await expect(train(goldenTraining(model, documents))).rejects.toThrow(/holds notes\.txt/);
});

test.each([
  ["query", { contexts: [], query: [], target: [1] }],
  ["target", { contexts: [], query: [1], target: [] }],
  ["contexts[1]", { contexts: [[1], [300]], query: [1], target: [1] }],
  ["context", { contexts: [Array(500).fill(1)], query: [1], target: [1] }],
])("names a bad %s of an example", async (name, example) => {
  const options = goldenTraining(model, scratch.path(`bad-example-${name}`), {
    examples: () => fixedExamples([example]),
  });
  await expect(train(options)).rejects.toMatchObject({ code: "bad-argument" });
  await expect(train(options)).rejects.toThrow(name);
});

test("an example that is too long ends the training where it can go on with larger groups", async () => {
  const long = { contexts: [Array(200).fill(1)], query: [1], target: [1] };
  const changes = { examples: () => fixedExamples([...randomExamples(2, 288, 3), long]), batchSize: 1, epochs: 1 };
  const output = scratch.path("long");
  await expect(train(goldenTraining(model, output, changes))).rejects.toThrow(/at most 192 tokens.*--group-tokens/);
  const { result } = await run(goldenTraining(model, output, { ...changes, groupTokens: 256 }));
  expect(result.steps).toBe(3);
});

/** Runs the training in another process, which dies by SIGKILL right after `step`. */
async function killAfter(folder: string, output: string, step: number): Promise<void> {
  const script = fileURLToPath(new URL("test-process.ts", import.meta.url));
  const child = spawn(process.execPath, ["--import", "tsx", script, folder, output, String(step)], {
    stdio: ["ignore", "ignore", "inherit"],
  });
  const signal = await new Promise((done) => child.on("close", (_, signal) => done(signal)));
  expect(signal).toBe("SIGKILL");
}

/** Names of tensors whose values differ between two models of one file each. */
async function changedTensors(before: string, after: string): Promise<string[]> {
  const { openSafetensors } = await import("../model/checkpoint/safetensors-source.js");
  const { readFloats } = await import("../model/checkpoint/values.js");
  const [old, fresh] = await Promise.all([before, after].map((path) => openSafetensors(`${path}/model.safetensors`)));
  const changed: string[] = [];
  for (const name of fresh!.tensors.keys()) {
    if (distance(await readFloats(fresh!, name), await readFloats(old!, name)) > 0) changed.push(name);
  }
  await Promise.all([old!.close(), fresh!.close()]);
  return changed;
}
