/**
 * The loop of a training: batches of examples, gradients, steps of the optimizer, validations, checkpoints. Where it
 * stands follows from the number of steps done: the data's order and every choice are drawn from seed, epoch and place.
 */
import { PicasoError } from "../errors.js";
import { Random } from "../evaluate/random.js";
import type { Checkpoints, TrainerState } from "./checkpoint.js";
import { checkExample, countTargets, countTokens, type ExampleSource, type TrainingExample } from "./example.js";
import type { GradientEngine } from "./gradient-engine.js";
import type { Journal } from "./journal.js";
import type { AdamW } from "./optimizer.js";
import type { CompleteOptions } from "./options.js";
import type { TrainableParameters } from "./parameters.js";
import { learningRateAt } from "./schedule.js";

export interface TrainerParts {
  options: CompleteOptions;
  vocabSize: number;
  parameters: TrainableParameters;
  optimizer: AdamW;
  engine: GradientEngine;
  examples: ExampleSource;
  validation: ExampleSource | null;
  checkpoints: Checkpoints;
  journal: Journal;
  /** Draws the journal's picture. */
  drawCourse: () => Promise<void>;
  settings: Record<string, unknown>;
}

export class Trainer {
  readonly steps: number;
  private readonly stepsPerEpoch: number;
  private state: TrainerState;
  /** Of the last checkpoint; nothing is to be saved before the first step. */
  private savedStep = 0;
  private order: { epoch: number; places: number[] } = { epoch: -1, places: [] };
  lastLoss = Number.NaN;

  constructor(private readonly parts: TrainerParts) {
    const { options, examples, settings } = parts;
    this.stepsPerEpoch = Math.ceil(examples.size / options.batchSize);
    this.steps = Math.min(options.maxSteps, options.epochs * this.stepsPerEpoch);
    this.state = { step: 0, best: null, checksWithoutGain: 0, validatedStep: null, settings };
  }

  get step(): number {
    return this.state.step;
  }

  get best(): TrainerState["best"] {
    return this.state.best;
  }

  get stoppedEarly(): boolean {
    return this.state.checksWithoutGain >= this.parts.options.patience;
  }

  /** Goes on from the last checkpoint, where there is one. Throws `mismatch` when it is of another course. */
  private async resume(): Promise<void> {
    const { checkpoints, parameters, optimizer, settings, options } = this.parts;
    const last = await checkpoints.last();
    if (!last) return;
    for (const [name, value] of Object.entries(settings)) {
      const [own, saved] = [JSON.stringify(value), JSON.stringify(last.settings[name])];
      if (own === saved) continue;
      throw new PicasoError("mismatch", {
        where: `${name} of the training in ${options.output}`,
        expected: `${saved ?? "none"}, with which it began`,
        found: own ?? "none",
        next: "Use the options that it began with, or another output folder.",
      });
    }
    await checkpoints.restore(last.step, parameters.trained, optimizer);
    this.state = last;
    this.savedStep = last.step;
  }

  /**
   * Runs to the last step, or until validations show no gain. When the signal fires or an example cannot be used, it saves
   * before it throws.
   */
  async run(): Promise<void> {
    const { options, journal } = this.parts;
    await this.resume();
    await journal.restart(this.step);
    options.onProgress?.({ phase: "start", step: this.step, steps: this.steps });
    const started = { at: performance.now(), step: this.step };
    try {
      for (;;) {
        if (this.isValidationDue()) {
          await this.validate();
          await this.save();
        }
        if (this.step === this.steps || this.stoppedEarly) break;
        await this.trainStep(started);
        if (this.step % options.checkpointEvery === 0 && !this.isValidationDue()) await this.save();
      }
      await this.save();
    } catch (error) {
      const isBadExample = PicasoError.isInstance(error) && error.code === "bad-argument";
      if (options.signal?.aborted || isBadExample) await this.save();
      throw error;
    }
  }

  private isValidationDue(): boolean {
    const { validation, options } = this.parts;
    if (!validation || this.state.validatedStep === this.step) return false;
    return this.step === this.steps || this.step % options.validateEvery === 0;
  }

  private async trainStep(started: { at: number; step: number }): Promise<void> {
    const { options, parameters, optimizer, engine, journal } = this.parts;
    const { learningRate: highest, schedule: shape, warmupSteps, signal } = options;
    const begin = performance.now();
    const examples = await this.batch(this.step);
    const { loss, gradients } = await engine.lossAndGradients(parameters.values(), examples, signal);
    const step = this.step + 1;
    const learningRate = learningRateAt(step, { learningRate: highest, shape, warmupSteps, steps: this.steps });
    if (!Number.isFinite(loss)) throw diverged(step, "loss", loss);
    const gradientNorm = optimizer.step(parameters.gradients(gradients), step, learningRate);
    if (!Number.isFinite(gradientNorm)) throw diverged(step, "gradient", gradientNorm);
    this.state = { ...this.state, step };
    this.lastLoss = loss;
    const now = performance.now();
    const tokensPerSecond = (1000 * countTokens(examples)) / (now - begin);
    const entry = { step, loss, learningRate, gradientNorm, tokensPerSecond };
    await journal.add(entry);
    const etaSeconds = (((now - started.at) / (step - started.step)) * (this.steps - step)) / 1000;
    options.onProgress?.({ phase: "step", steps: this.steps, ...entry, etaSeconds });
  }

  /** Mean loss over the validation examples' target tokens, first of all before any step; keeps the parameters where it is the lowest so far. */
  private async validate(): Promise<void> {
    const { options, parameters, engine, validation, checkpoints, journal } = this.parts;
    const size = Math.min(validation!.size, options.validationExamples);
    // The same examples with the same draws at every validation.
    const places = Random.of(options.seed, 0).sample(validation!.size, size);
    const values = parameters.values();
    let total = 0;
    let targets = 0;
    for (let at = 0; at < size; at += options.batchSize) {
      const random = Random.of(options.seed, 0, 1, at);
      const examples = await validation!.batch(places.slice(at, at + options.batchSize), random);
      this.checkExamples(examples, "validation");
      total += countTargets(examples) * (await engine.loss(values, examples, options.signal));
      targets += countTargets(examples);
    }
    const loss = total / targets;
    if (!Number.isFinite(loss)) throw diverged(this.step, "validation loss", loss);
    const isBest = loss < (this.state.best?.loss ?? Number.POSITIVE_INFINITY);
    if (isBest) await checkpoints.saveBest(this.step, parameters.trained);
    const gain = isBest
      ? { best: { step: this.step, loss }, checksWithoutGain: 0 }
      : { checksWithoutGain: this.state.checksWithoutGain + 1 };
    this.state = { ...this.state, ...gain, validatedStep: this.step };
    await journal.add({ step: this.step, validationLoss: loss });
    options.onProgress?.({ phase: "validation", step: this.step, steps: this.steps, loss, best: isBest });
  }

  private async save(): Promise<void> {
    if (this.savedStep === this.step) return;
    const { checkpoints, parameters, optimizer, options, drawCourse } = this.parts;
    // First, so that a process killed in between leaves no checkpoint that is newer than the picture.
    await drawCourse();
    const path = await checkpoints.save(this.state, parameters.trained, optimizer);
    this.savedStep = this.step;
    options.onProgress?.({ phase: "checkpoint", step: this.step, steps: this.steps, path });
  }

  /** The examples of the step after `step` steps. */
  private async batch(step: number): Promise<TrainingExample[]> {
    const { options, examples } = this.parts;
    const epoch = Math.floor(step / this.stepsPerEpoch);
    const number = step % this.stepsPerEpoch;
    if (this.order.epoch !== epoch) {
      const places = Array.from({ length: examples.size }, (_, i) => i);
      this.order = { epoch, places: Random.of(options.seed, 1, epoch).shuffle(places) };
    }
    const places = this.order.places.slice(number * options.batchSize, (number + 1) * options.batchSize);
    const batch = await examples.batch(places, Random.of(options.seed, 2, epoch, number));
    this.checkExamples(batch, `step ${step + 1}`);
    return batch;
  }

  private checkExamples(examples: readonly TrainingExample[], where: string): void {
    const { vocabSize } = this.parts;
    for (const [i, example] of examples.entries()) checkExample(example, vocabSize, `${where}, example ${i}`);
  }
}

function diverged(step: number, what: string, found: number): PicasoError {
  return new PicasoError("failed", {
    where: `training, step ${step}`,
    expected: `a finite ${what}`,
    found: `${found}`,
    next: "Lower the learning rate, or lengthen the warm-up, and train again into another folder.",
  });
}
