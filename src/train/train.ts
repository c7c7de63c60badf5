/** Fine-tuning a Mamba-2 through the composition of its contexts' states, or up to it: from options to a new model. */
import { join, resolve } from "node:path";
import { PicasoError } from "../errors.js";
import { resolveModelFolder } from "../hub/model-folder.js";
import { findModelFiles, type ModelFiles } from "../model/checkpoint/model-files.js";
import { readFloats } from "../model/checkpoint/values.js";
import { modelFingerprint } from "../model/fingerprint.js";
import { loadForm } from "../model/form.js";
import { checkParameters, parameterShapes } from "../model/parameters.js";
import { Tokenizer } from "../model/tokenizer.js";
import { startEngine } from "./engine.js";
import {
  type CompleteOptions,
  completeOptions,
  courseSettings,
  type TrainOptions,
  type TrainResult,
} from "./options.js";
import type { HostTensor, TrainedParameters } from "./parameters.js";

export type { ExampleMaker, TrainingProgress, TrainOptions, TrainResult } from "./options.js";

/**
 * Trains `options.model` and writes the result to `options.output` (PICASO, ICLR 2025, section on fine-tuning: BPTC and
 * BP2C). Checkpoints in `{output}/checkpoints` outlive the process at any moment: run it again with the same options to
 * go on.
 *
 * On the wasm engine a training is deterministic: the same options give the same losses, stopped and resumed or not.
 * On webgpu, sums of embedding gradients are added in varying order.
 *
 * @throws PicasoError `bad-argument` for options or examples that cannot be used, `not-found` and `bad-file` for the
 *   model or a checkpoint, `mismatch` when the checkpoint is of another training, `unsupported` where the engine cannot
 *   run, `failed` when the loss is not finite, `aborted`.
 */
export async function train(options: TrainOptions): Promise<TrainResult> {
  const complete = completeOptions(options);
  const { output, signal } = complete;
  const folder = await resolveModelFolder(complete.model, { offline: complete.offline, signal });
  if (resolve(output) === resolve(folder)) throw sameFolder(output);
  const files = await findModelFiles(folder);
  const tokenizer = await Tokenizer.load(files.tokenizerFile, files.config.vocabSize);
  const form = await loadForm(files.formFile, files.config, tokenizer);
  const model = { config: files.config, tokenizer, form };
  const examples = await complete.examples(model);
  const validation = (await complete.validation?.(model)) ?? null;
  const settings = courseSettings(complete, examples.size, await modelFingerprint(files, signal));

  // jax-js looks at its surroundings while it is being loaded, so what uses it comes after the engine's start.
  await startEngine(complete.engine, { threads: complete.threads });
  const [{ Trainer }, { TrainingLoss }, { AdamW }, { Checkpoints }, { exportModel }, { loraScale }] = await Promise.all(
    [
      import("./trainer.js"),
      import("./loss.js"),
      import("./optimizer.js"),
      import("./checkpoint.js"),
      import("./export.js"),
      import("./lora.js"),
    ],
  );
  const { lora, method, mode } = complete;
  const scale = lora ? loraScale(lora) : 1;
  const parameters = await loadParameters(files, complete);
  const optimizer = new AdamW(parameters, complete);
  try {
    const loss = new TrainingLoss(files.config, { method, mode, loraScale: scale });
    const checkpoints = new Checkpoints(join(output, "checkpoints"));
    const parts = { options: complete, parameters, optimizer, loss, examples, validation, checkpoints, settings };
    const trainer = new Trainer(parts);
    if (complete.resume) await trainer.resume();
    await trainer.run();
    const { best, steps } = trainer;
    if (best && best.step !== trainer.step) await checkpoints.restoreBest(best.step, parameters);
    await exportModel(output, files, parameters, scale, complete);
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
    optimizer.dispose();
    parameters.dispose();
  }
}

/** All parameters on the engine; trained are all of them, or the low-rank additions alone. */
async function loadParameters(files: ModelFiles, { lora, seed }: CompleteOptions): Promise<TrainedParameters> {
  const [{ TrainedParameters }, { loraParameters }] = await Promise.all([
    import("./parameters.js"),
    import("./lora.js"),
  ]);
  const shapes = parameterShapes(files.config);
  const added: Map<string, HostTensor> = lora ? loraParameters(files.config, lora, seed) : new Map();
  const trained = new Set(lora ? added.keys() : shapes.keys());
  const parameters = new TrainedParameters(files.config, added, trained);
  const source = await files.openWeights();
  try {
    checkParameters(source, files.config, files.weightFiles[0]!);
    for (const [name, shape] of shapes) parameters.add(name, { shape, data: await readFloats(source, name) });
  } catch (error) {
    parameters.dispose();
    throw error;
  } finally {
    await source.close();
  }
  return parameters;
}

function sameFolder(output: string): PicasoError {
  return new PicasoError("bad-argument", {
    where: "training option output",
    expected: "another folder than the model's own",
    found: output,
    next: "Name a new folder: the model is needed to go on after an interruption.",
  });
}
