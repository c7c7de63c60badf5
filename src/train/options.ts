/** What a training is asked to do, with every default, and what it tells while it runs. */
import { type CompositionMethod, compositionMethods } from "../compose/weights.js";
import { PicasoError } from "../errors.js";
import type { FormedModel } from "../model/form.js";
import type { ContextRange } from "./data.js";
import { type TrainingEngine, trainingEngines } from "./engines.js";
import type { ExampleSource } from "./example.js";
import type { ExportOptions } from "./export.js";
import type { GradientMode } from "./gradient-engine.js";
import type { LoraOptions } from "./lora.js";
import type { OptimizerOptions } from "./optimizer.js";
import type { ScheduleShape } from "./schedule.js";

/** Makes examples in the text form of the model; see data.ts. */
export type ExampleMaker = (model: FormedModel) => ExampleSource | Promise<ExampleSource>;

export interface TrainOptions extends OptimizerOptions, ExportOptions {
  /** Folder of the model to begin with, or its name on the hub. */
  model: string;
  /** Never asks the hub. @default false */
  offline?: boolean;
  /**
   * Folder for the trained model, its course (training.jsonl, loss.svg), and checkpoints. Where it holds checkpoints of this
   * training already, the training goes on from the last one.
   */
  output: string;
  examples: ExampleMaker;
  /** Examples that are only scored. Without them the last step's model is written, with them the best one. */
  validation?: ExampleMaker;
  /** @default "picaso-r" */
  method?: CompositionMethod;
  /** Whether gradients go through the composition into the contexts' runs. @default "bptc" */
  mode?: GradientMode;
  /** Trains low-rank additions to the projections in place of all parameters. */
  lora?: LoraOptions;
  /** @default 1 */
  epochs?: number;
  /** Stops after so many steps, if that is before the last epoch's end. */
  maxSteps?: number;
  /** Examples of a step. @default 8 */
  batchSize?: number;
  /** Highest learning rate. @default 5e-5, with `lora` 2e-4 */
  learningRate?: number;
  /** @default "linear" */
  schedule?: ScheduleShape;
  /** @default 0 */
  warmupSteps?: number;
  /** Steps between validations; there is one before the first step and one at the end too. @default 100 */
  validateEvery?: number;
  /** Most examples of a validation, drawn once. @default 200 */
  validationExamples?: number;
  /** Stops after so many validations in a row without a lower loss. @default never */
  patience?: number;
  /** Steps between checkpoints; there is one at each validation and at the end too. @default 100 */
  checkpointEvery?: number;
  /** Order of the data, choices of contexts, first values of low-rank additions. @default 0 */
  seed?: number;
  /** @default "onnx" */
  engine?: TrainingEngine;
  /** Threads of the engine on the CPU. @default all cores */
  threads?: number;
  /** Tokens that go through a layer at once, padding included: bounds memory. @default 1536; 24576 on onnx-webgpu, 12288 on jax-webgpu */
  groupTokens?: number;
  /** Contexts whose states are kept at once: bounds memory. @default 32, on onnx-webgpu 1024 */
  groupContexts?: number;
  onProgress?: (progress: TrainingProgress) => void;
  /** Stops after the running micro-batch, with a checkpoint. */
  signal?: AbortSignal;
}

export type TrainingProgress =
  | {
      phase: "start";
      /** Steps done before, by a process that was stopped. */
      step: number;
      steps: number;
    }
  | {
      phase: "step";
      /** Steps done, this one included. */
      step: number;
      steps: number;
      /** Mean loss of the step's target tokens in nats, before its update. */
      loss: number;
      learningRate: number;
      /** Norm of the gradient before it was clipped. */
      gradientNorm: number;
      tokensPerSecond: number;
      /** Until the last step, at the pace so far. */
      etaSeconds: number;
    }
  | { phase: "validation"; step: number; steps: number; loss: number; best: boolean }
  | { phase: "checkpoint"; step: number; steps: number; path: string }
  | { phase: "export"; step: number; steps: number; path: string };

export interface TrainResult {
  /** Folder of the trained model. */
  output: string;
  /** Steps done in all, and the step whose parameters were written. */
  steps: number;
  writtenStep: number;
  /** Loss of the last step; NaN where there was nothing left to do. */
  loss: number;
  /** Loss of the model that was written; absent without validation. */
  validationLoss?: number;
  /** Whether it stopped for want of a lower validation loss. */
  stoppedEarly: boolean;
}

/** `4`, or a range such as `0-10`; null for anything else. */
export function parseContextRange(text: string): ContextRange | null {
  const match = /^(\d{1,4})(?:-(\d{1,4}))?$/.exec(text);
  const min = Number(match?.[1]);
  const max = Number(match?.[2] ?? match?.[1]);
  return match && max >= min ? { min, max } : null;
}

/** How many tokens go through a layer at once where nobody says: a graphics card wants more of them. */
export function groupTokensOf(engine: TrainingEngine): number {
  if (engine === "onnx-webgpu") return 24576;
  return engine === "jax-webgpu" ? 12288 : 1536;
}

function groupContextsOf(engine: TrainingEngine): number {
  return engine === "onnx-webgpu" ? 1024 : 32;
}

/** All defaults filled in. */
export function completeOptions(options: TrainOptions) {
  const complete = {
    ...options,
    method: options.method ?? "picaso-r",
    mode: options.mode ?? "bptc",
    epochs: options.epochs ?? 1,
    maxSteps: options.maxSteps ?? Number.POSITIVE_INFINITY,
    batchSize: options.batchSize ?? 8,
    learningRate: options.learningRate ?? (options.lora ? 2e-4 : 5e-5),
    schedule: options.schedule ?? "linear",
    warmupSteps: options.warmupSteps ?? 0,
    validateEvery: options.validateEvery ?? 100,
    validationExamples: options.validationExamples ?? 200,
    patience: options.patience ?? Number.POSITIVE_INFINITY,
    checkpointEvery: options.checkpointEvery ?? 100,
    seed: options.seed ?? 0,
    engine: options.engine ?? "onnx",
    groupTokens: options.groupTokens ?? groupTokensOf(options.engine ?? "onnx"),
    groupContexts: options.groupContexts ?? groupContextsOf(options.engine ?? "onnx"),
    beta1: options.beta1 ?? 0.9,
    beta2: options.beta2 ?? 0.999,
    epsilon: options.epsilon ?? 1e-8,
    weightDecay: options.weightDecay ?? 0,
    clipNorm: options.clipNorm ?? 1,
  } satisfies TrainOptions;
  check(complete);
  return complete;
}

export type CompleteOptions = ReturnType<typeof completeOptions>;

/** The options that the course of a training depends on, as a checkpoint keeps them. */
export function courseSettings(options: CompleteOptions, model: string, data: { examples: number; sample: string }) {
  const { method, mode, lora = null, epochs, batchSize, learningRate, schedule, warmupSteps, seed } = options;
  const { beta1, beta2, epsilon, weightDecay, clipNorm } = options;
  const maxSteps = Number.isFinite(options.maxSteps) ? options.maxSteps : null;
  return {
    ...{ model, ...data, method, mode, lora, epochs, maxSteps, batchSize, learningRate, schedule },
    ...{ warmupSteps, seed, beta1, beta2, epsilon, weightDecay, clipNorm },
  };
}

function check(options: CompleteOptions): void {
  const choice = (name: "method" | "mode" | "schedule" | "engine" | "dtype", choices: readonly string[]) => {
    if (!choices.includes(String(options[name]))) bad(name, `one of ${choices.join(", ")}`, options[name]);
  };
  choice("method", compositionMethods);
  choice("mode", ["bptc", "bp2c"]);
  choice("schedule", ["linear", "cosine", "constant"]);
  choice("engine", trainingEngines);
  if (options.dtype !== undefined) choice("dtype", ["f32", "bf16"]);
  for (const name of [
    ...(["batchSize", "validateEvery", "validationExamples", "checkpointEvery", "groupTokens"] as const),
    ...(["groupContexts", "maxSteps", "patience", "epochs"] as const),
  ]) {
    const value = options[name];
    if (!(value >= 1 && (Number.isInteger(value) || value === Number.POSITIVE_INFINITY))) {
      bad(name, "a whole number from 1", value);
    }
  }
  for (const name of ["warmupSteps", "seed"] as const) {
    if (!Number.isSafeInteger(options[name]) || options[name] < 0) bad(name, "a whole number from 0", options[name]);
  }
  for (const name of ["learningRate", "epsilon", "clipNorm"] as const) {
    if (!(options[name] > 0)) bad(name, "a number above 0", options[name]);
  }
  for (const name of ["beta1", "beta2"] as const) {
    if (!(options[name] >= 0 && options[name] < 1)) bad(name, "a number from 0 to below 1", options[name]);
  }
  if (!(options.weightDecay >= 0)) bad("weightDecay", "a number from 0", options.weightDecay);
}

function bad(name: string, expected: string, found: unknown): never {
  throw new PicasoError("bad-argument", {
    where: `training option ${name}`,
    expected,
    found: String(found),
    next: "Pass such a value, or leave it out for the default.",
  });
}
