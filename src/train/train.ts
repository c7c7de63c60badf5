/** Fine-tuning a Mamba-2 through the composition of its contexts' states, or up to it: from options to a new model. */
import { createHash } from "node:crypto";
import { readdir } from "node:fs/promises";
import { join, resolve } from "node:path";
import { writeWhole } from "../cache.js";
import { PicasoError } from "../errors.js";
import { Random } from "../evaluate/random.js";
import { resolveModelFolder } from "../hub/model-folder.js";
import { findModelFiles, type ModelFiles } from "../model/checkpoint/model-files.js";
import { modelFingerprint } from "../model/fingerprint.js";
import { loadForm } from "../model/form.js";
import { Tokenizer } from "../model/tokenizer.js";
import { Checkpoints } from "./checkpoint.js";
import { loadEngine } from "./engines.js";
import type { ExampleSource } from "./example.js";
import { exportModel } from "./export.js";
import { Journal } from "./journal.js";
import { LowRankParameters } from "./lora.js";
import { AdamW } from "./optimizer.js";
import {
  type CompleteOptions,
  completeOptions,
  courseSettings,
  type TrainOptions,
  type TrainResult,
} from "./options.js";
import { FullParameters, readParameters, type TrainableParameters } from "./parameters.js";
import { Trainer } from "./trainer.js";

export type { ExampleMaker, TrainingProgress, TrainOptions, TrainResult } from "./options.js";

/**
 * Trains `options.model` and writes the result to `options.output` (PICASO, ICLR 2025, section on fine-tuning: BPTC and
 * BP2C). Checkpoints in `{output}/checkpoints` outlive the process at any moment: run it again with the same options to
 * go on.
 *
 * On the CPU a training is deterministic: the same options give the same losses, stopped and resumed or not. On a
 * graphics card, sums of embedding gradients are added in varying order.
 *
 * @throws PicasoError `bad-argument` for options or examples that cannot be used, `not-found` and `bad-file` for the
 *   model or a checkpoint, `mismatch` when the checkpoint is of another training, `conflict` when `output` holds another
 *   model, `unsupported` where the engine cannot run, `failed` when the loss is not finite, `aborted`.
 */
export async function train(options: TrainOptions): Promise<TrainResult> {
  const complete = completeOptions(options);
  const { output, signal } = complete;
  const folder = await resolveModelFolder(complete.model, { offline: complete.offline, signal });
  if (resolve(output) === resolve(folder)) throw sameFolder(output);
  await refuseForeignFolder(output);
  const files = await findModelFiles(folder);
  const tokenizer = await Tokenizer.load(files.tokenizerFile, files.config.vocabSize);
  const form = await loadForm(files.formFile, files.config, tokenizer);
  const model = { config: files.config, tokenizer, form };
  const examples = await complete.examples(model);
  const validation = (await complete.validation?.(model)) ?? null;
  const data = { examples: examples.size, sample: await sampleOf(examples, complete) };
  const settings = courseSettings(complete, await modelFingerprint(files, "f32", signal), data);

  const parameters = await trainableParameters(files, complete);
  const optimizer = new AdamW(parameters.trained, complete);
  const startEngine = await loadEngine(complete.engine);
  const engine = await startEngine(files.config, { ...complete, wanted: parameters.wanted });
  try {
    const checkpoints = new Checkpoints(join(output, "checkpoints"));
    const journal = new Journal(join(output, "training.jsonl"));
    const { vocabSize } = files.config;
    const drawCourse = async () => {
      // Loaded on use: drawing takes a while to load.
      const { plotLossCurve } = await import("./loss-curve.js");
      await writeWhole(join(output, "loss.svg"), plotLossCurve(await journal.read()));
    };
    const trainer = new Trainer({
      ...{ options: complete, vocabSize, parameters, optimizer, engine, examples, validation, checkpoints, journal },
      ...{ drawCourse, settings },
    });
    await trainer.run();
    const { best, steps } = trainer;
    if (best && best.step !== trainer.step) await checkpoints.restoreBest(best.step, parameters.trained);
    await exportModel(output, files, parameters.values(), complete);
    complete.onProgress?.({ phase: "export", step: trainer.step, steps, path: output });
    return {
      output,
      steps: trainer.step,
      writtenStep: best?.step ?? trainer.step,
      loss: trainer.lastLoss,
      validationLoss: best?.loss,
      stoppedEarly: trainer.stoppedEarly && trainer.step < steps,
    };
  } finally {
    await engine.dispose();
  }
}

async function trainableParameters(files: ModelFiles, { lora, seed }: CompleteOptions): Promise<TrainableParameters> {
  const values = await readParameters(files);
  return lora ? new LowRankParameters(values, lora, seed) : new FullParameters(values);
}

/** What tells the data of one training from another's: a hash of the first examples. */
async function sampleOf(examples: ExampleSource, { seed, batchSize }: CompleteOptions): Promise<string> {
  const places = Array.from({ length: Math.min(examples.size, batchSize) }, (_, i) => i);
  const sample = await examples.batch(places, Random.of(seed));
  return createHash("sha256").update(JSON.stringify(sample)).digest("hex").slice(0, 16);
}

function sameFolder(output: string): PicasoError {
  return new PicasoError("bad-argument", {
    where: "training option output",
    expected: "another folder than the model's own",
    found: output,
    next: "Name a new folder: the model is needed to go on after an interruption.",
  });
}

/** A folder with a model but no checkpoints is someone's model: it is not to be written over. */
async function refuseForeignFolder(output: string): Promise<void> {
  const entries = await readdir(output).catch((error: NodeJS.ErrnoException): string[] => {
    if (error.code === "ENOENT") return [];
    throw error;
  });
  // A training that was killed before its first checkpoint has left no more than its course.
  const course = ["training.jsonl", "loss.svg"];
  if (entries.includes("checkpoints") || entries.every((name) => course.includes(name))) return;
  throw new PicasoError("conflict", {
    where: "training option output",
    expected: "a new folder, or one with the checkpoints of this training",
    found: `${output}, which holds ${entries[0]}${entries.length > 1 ? ` and ${entries.length - 1} more` : ""}`,
    next: "Name a new folder, or remove this one.",
  });
}
