import { type Command as AnyCommand, Command, InvalidArgumentError, Option } from "commander";
import type { GradientMode } from "../train/gradient-engine.js";
import { parseContextRange, type TrainingProgress, type TrainOptions } from "../train/options.js";
import type { DataOptions, TrainingTask } from "../train/read-data.js";
import { duration, figure } from "./format.js";
import { type GlobalOptions, interruptSignal, reporterFor, wholeNumber } from "./globals.js";
import type { Reporter } from "./reporter.js";

/** Flags whose names are those of the training's own options. */
type SameNames = Pick<
  TrainOptions,
  | ("method" | "epochs" | "maxSteps" | "batchSize" | "learningRate" | "schedule" | "warmupSteps" | "weightDecay")
  | ("clipNorm" | "validateEvery" | "validationExamples" | "patience" | "checkpointEvery" | "seed")
  | ("groupTokens" | "groupContexts")
>;

interface TrainFlags extends GlobalOptions, SameNames {
  data: string;
  task: TrainingTask;
  validation?: string;
  out: string;
  mode: GradientMode;
  contexts?: DataOptions["contexts"];
  passageTokens?: number;
  lora?: number;
  loraAlpha?: number;
  weights: "f32" | "bf16";
}

const description = `fine-tune a model to answer from composed states

Every example has contexts, a query and a target. The contexts are read each by
itself, their states are composed into one, and the model learns to continue the
query with the target from there. The result is a model folder as any other, for
--model.`;

const details = `
Tasks, and what --data is for each:
  wikitext   a WikiText token file: continue a passage given others of its article
  documents  your own documents, a file or a folder: the same
  squad      a file in SQuAD's format: answer from paragraphs of one article
  nq         NQ-open with gold passages, .jsonl: the right passage among similar ones
  msmarco    MS MARCO QA rows, .json, .jsonl or .parquet: all passages of a row
  examples   your own, .jsonl: {"contexts": [...], "question": "...", "answer": "..."}
             or {"contexts": [...], "query": "...", "target": "..."}
  mixture    several of these, .json: a list of {"task": ..., "data": ...,
             "contexts": "1-5", "passageTokens": 128, "times": 4}; paths from its folder

Modes:
  bptc       gradients flow through the composition into the contexts: better, slower
  bp2c       the composed state is taken as given: about twice as fast

With --device webgpu gradients are computed on a graphics card, at once for many
examples: a --batch-size of 32 or 64 keeps it busy.

Stopped by Ctrl-C, a crash or kill -9, it goes on where it was when the same command
is run again. In --out, loss.svg is the picture of the course, training.jsonl its
numbers, and checkpoints/ can be removed once you are done.

Examples:
  $ picaso train --task wikitext --data wiki.train.tokens --validation wiki.valid.tokens \\
      --mode bptc --method picaso-r --out models/tuned
  $ picaso train --task examples --data mine.jsonl --mode bp2c --lora 16 --out models/mine
  $ picaso index docs --model models/tuned --store tuned-store
  $ picaso ask "Who built it?" --model models/tuned --store tuned-store`;

export function trainCommand(): Command {
  const command = new Command("train")
    .summary("fine-tune a model to answer from composed states")
    .description(description);
  addDataOptions(command);
  addCourseOptions(command);
  addMachineOptions(command);
  return command.addHelpText("after", details).action(run);
}

function addDataOptions(command: AnyCommand): void {
  command
    .requiredOption("--data <file>", "training data, or hub:datasets/ORG/NAME/path/in/repo")
    .addOption(
      new Option("--task <task>", "what the data are")
        .choices(["wikitext", "documents", "squad", "nq", "msmarco", "examples", "mixture"])
        .makeOptionMandatory(),
    )
    .requiredOption("--out <dir>", "new folder for the trained model")
    .option("--validation <file>", "data of the same kind that are only scored; the best model is kept")
    .option(
      "-k, --contexts <n|a-b>",
      "contexts of an example, or a range that each batch draws from, the smaller first (default: 0-10 for wikitext and documents, 1-10 for squad and nq; the others carry their own)",
      contextRange,
    )
    .option("--passage-tokens <n>", "wikitext, documents: most tokens of a passage (default: 128)", wholeNumber(16));
}

function addCourseOptions(command: AnyCommand): void {
  command
    .addOption(new Option("--mode <mode>", "how far gradients flow").choices(["bptc", "bp2c"]).default("bptc"))
    .addOption(
      new Option("--method <method>", "how states are composed")
        .choices(["picaso-r", "picaso-s", "soup", "caso"])
        .default("picaso-r"),
    )
    .option("--epochs <n>", "times through the data", wholeNumber(1), 1)
    .option("--max-steps <n>", "stop after so many steps", wholeNumber(1))
    .option("--batch-size <n>", "examples of a step", wholeNumber(1), 8)
    .option("--learning-rate <x>", "highest learning rate (default: 5e-5, with --lora 2e-4)", positive)
    .addOption(
      new Option("--schedule <shape>", "how the learning rate falls")
        .choices(["linear", "cosine", "constant"])
        .default("linear"),
    )
    .option("--warmup-steps <n>", "steps in which the learning rate rises", wholeNumber(0), 0)
    .option("--weight-decay <x>", "share of the weights taken away, times the learning rate", notNegative, 0)
    .option("--clip-norm <x>", "longest gradient", positive, 1)
    .option("--lora <rank>", "train low-rank additions to the projections, not all weights", wholeNumber(1))
    .option("--lora-alpha <x>", "their strength (default: twice the rank)", positive)
    .option("--validate-every <n>", "steps between validations", wholeNumber(1), 100)
    .option("--validation-examples <n>", "most examples of a validation", wholeNumber(1), 200)
    .option("--patience <n>", "stop after so many validations without gain (default: never)", wholeNumber(1))
    .option("--checkpoint-every <n>", "steps between checkpoints", wholeNumber(1), 100)
    .option("--seed <n>", "of everything drawn", wholeNumber(0), 0);
}

function addMachineOptions(command: AnyCommand): void {
  command
    .option(
      "--group-tokens <n>",
      "tokens that go through a layer at once; less takes less memory (default: 1536, on webgpu 24576)",
      wholeNumber(1),
    )
    .option(
      "--group-contexts <n>",
      "contexts whose states are kept at once (default: 32, on webgpu 1024)",
      wholeNumber(1),
    )
    .addOption(new Option("--weights <type>", "form of the weights written").choices(["f32", "bf16"]).default("f32"));
}

async function run(_: unknown, command: AnyCommand): Promise<void> {
  const flags = command.optsWithGlobals<TrainFlags>();
  const { data, task, validation, contexts, passageTokens, offline, lora, loraAlpha, weights } = flags;
  const reporter = reporterFor(flags);
  const signal = interruptSignal();
  const [{ train }, { readTrainingData }, { bundledModel }] = await Promise.all([
    import("../train/train.js"),
    import("../train/read-data.js"),
    import("../model/bundled.js"),
  ]);
  const examplesOf = (path: string): TrainOptions["examples"] => {
    const onProgress = (progress: { done: number; total: number }) => {
      reporter.progress("cutting texts into passages", { ...progress, unit: "texts" });
    };
    return (model) => readTrainingData(model, { path, task, contexts, passageTokens, offline, onProgress, signal });
  };
  if (loraAlpha !== undefined && lora === undefined) command.error("error: --lora-alpha needs --lora", { exitCode: 2 });
  const start = performance.now();
  const result = await train({
    ...flags,
    model: flags.model ?? bundledModel,
    output: flags.out,
    examples: examplesOf(data),
    validation: validation === undefined ? undefined : examplesOf(validation),
    lora: lora === undefined ? undefined : { rank: lora, alpha: loraAlpha },
    dtype: weights,
    engine: flags.device === "cpu" ? "onnx" : "onnx-webgpu",
    signal,
    onProgress: (progress) => report(reporter, progress),
  });
  reporter.progressDone();
  const { output, steps, writtenStep, loss, validationLoss, stoppedEarly } = result;
  const seconds = (performance.now() - start) / 1000;
  const outcome = Number.isNaN(loss) ? "there was nothing left to do" : `last loss ${figure(loss)}`;
  const lines = [
    `${steps} steps${stoppedEarly ? ", stopped early" : ""}; ${outcome}; ${duration(seconds)}`,
    ...(validationLoss === undefined ? [] : [`validation loss ${figure(validationLoss)}, of step ${writtenStep}`]),
    `model in ${output}/, its course in ${output}/loss.svg`,
  ];
  reporter.result(result, `${lines.join("\n")}\n`);
}

function report(reporter: Reporter, progress: TrainingProgress): void {
  const { step, steps } = progress;
  switch (progress.phase) {
    case "start":
      if (step > 0) reporter.note(`Goes on after step ${step} of ${steps}.`);
      reporter.progress("training", { done: step, total: steps, unit: "steps" });
      return;
    case "step": {
      const { loss, tokensPerSecond, learningRate, gradientNorm } = progress;
      const figures = {
        loss,
        "gradient norm": gradientNorm,
        "learning rate": learningRate,
        "tokens/s": tokensPerSecond,
      };
      reporter.progress("training", { done: step, total: steps, unit: "steps", figures });
      return;
    }
    case "validation":
      reporter.note(`Validation loss at step ${step}: ${figure(progress.loss)}${progress.best ? ", the lowest" : ""}.`);
      return;
    case "checkpoint":
    case "export":
      return;
  }
}

function contextRange(text: string): NonNullable<DataOptions["contexts"]> {
  const range = parseContextRange(text);
  if (!range)
    throw new InvalidArgumentError("expected a whole number such as 4, or a range such as 0-10, the smaller first.");
  return range;
}

function positive(text: string): number {
  const value = text.trim() === "" ? Number.NaN : Number(text);
  if (!(value > 0 && Number.isFinite(value))) throw new InvalidArgumentError("expected a number above 0.");
  return value;
}

function notNegative(text: string): number {
  const value = text.trim() === "" ? Number.NaN : Number(text);
  if (!(value >= 0 && Number.isFinite(value))) throw new InvalidArgumentError("expected a number from 0.");
  return value;
}
