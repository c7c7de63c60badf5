/**
 * The gradient engine for a graphics card on ONNX Runtime: a micro-batch is one run of one graph (step-graph.ts), so
 * that only parameters, embedded tokens and gradients pass between the card and the host.
 */
import { throwIfAborted } from "../../errors.js";
import type { Mamba2Config } from "../../model/config.js";
import { assertWebGpu } from "../../model/webgpu/engine.js";
import { countTargets, type TrainingExample } from "../example.js";
import type { EngineOptions, GradientEngine, LossAndGradients, ParameterValues } from "../gradient-engine.js";
import { type Feeds, floats, sum, toTensor } from "./feeds.js";
import { embeddingsName, GradientSums } from "./gradient-sums.js";
import { type GraphDevice, GraphSession } from "./graph-session.js";
import type { BatchKind } from "./layer-graphs.js";
import { type MicroBatch, onnxMicroBatches, placeMicroBatch } from "./micro-batch.js";
import { type ParameterPart, partFeeds } from "./parameter-inputs.js";
import { embed, type Padding } from "./sequences.js";
import { stepGraph } from "./step-graph.js";

/**
 * Few sizes: shaders are compiled for each, and the engine keeps the memory of each for the next batch, since making it
 * anew takes longer than computing. Long chunks: small products across chunks take a graphics card longer than large
 * ones within.
 */
const padding: Padding = { maxChunk: 256, count: roundUp, length: (tokens) => 64 * Math.ceil(tokens / 64) };

/** Powers of four up to 64, of two beyond. */
function roundUp(count: number): number {
  const exponent = Math.ceil(Math.log2(count));
  return 2 ** (exponent < 6 ? 2 * Math.ceil(exponent / 2) : exponent);
}

/** After so many kinds of sizes the engine's memory is given back. */
const mostShapes = 24;

interface StepSession {
  session: GraphSession;
  parts: readonly ParameterPart[];
}

export class StepEngine implements GradientEngine {
  private readonly sessions = new Map<string, Promise<StepSession>>();
  /** Sizes of the batches since the sessions were made. */
  private readonly shapes = new Set<string>();

  private constructor(
    private readonly config: Mamba2Config,
    private readonly options: EngineOptions,
    private readonly device: GraphDevice,
  ) {}

  /**
   * On the CPU it computes the same, more slowly than {@link OnnxEngine} and with more memory. Throws `unsupported` where
   * there is no graphics card that ONNX Runtime can use.
   */
  static async start(
    config: Mamba2Config,
    options: EngineOptions,
    device: GraphDevice = "webgpu",
  ): Promise<StepEngine> {
    const engine = new StepEngine(config, options, device);
    try {
      await engine.sessionOf({ contexts: "none", queries: "one" }, false);
    } catch (error) {
      if (device === "webgpu") await assertWebGpu();
      throw error;
    }
    return engine;
  }

  async loss(values: ParameterValues, examples: readonly TrainingExample[], signal?: AbortSignal): Promise<number> {
    let total = 0;
    for (const batch of this.microBatches(examples)) {
      throwIfAborted(signal, "training");
      const { session, parts } = await this.session(batch, false);
      const { losses } = await session.run({ ...this.feeds(values, batch, 1), ...partFeeds(values, parts) });
      total += sum(floats(losses!).subarray(0, batch.positions.rows.length));
    }
    return total / countTargets(examples);
  }

  async lossAndGradients(
    values: ParameterValues,
    examples: readonly TrainingExample[],
    signal?: AbortSignal,
  ): Promise<LossAndGradients> {
    const sums = new GradientSums(values, this.options.wanted);
    const targets = countTargets(examples);
    let total = 0;
    for (const batch of this.microBatches(examples)) {
      throwIfAborted(signal, "training");
      const { session, parts } = await this.session(batch, true);
      const results = await session.run({ ...this.feeds(values, batch, 1 / targets), ...partFeeds(values, parts) });
      total += sum(floats(results.losses!).subarray(0, batch.positions.rows.length));
      for (const part of parts) {
        const gradient = results[`gradient.${part.input}`];
        if (gradient) sums.add(part.parameter, floats(gradient), part.from);
      }
      for (const side of batch.sides) {
        sums.addEmbedded(side, results[`${side.side}.gradient`], this.config.hiddenSize);
      }
    }
    return { loss: total / targets, gradients: sums.values };
  }

  async dispose(): Promise<void> {
    const sessions = await Promise.all(this.sessions.values());
    this.sessions.clear();
    await Promise.all(sessions.map(({ session }) => session.dispose()));
  }

  private *microBatches(examples: readonly TrainingExample[]): Generator<MicroBatch> {
    for (const part of onnxMicroBatches(examples, this.options, padding)) {
      yield placeMicroBatch(part, this.options, this.config, padding);
    }
  }

  private async session({ variant, sides, positions }: MicroBatch, withGradients: boolean): Promise<StepSession> {
    const lengths = sides.map(({ sequences, length }) => [sequences.length, length]);
    this.shapes.add(`${lengths} ${padding.count(positions.rows.length)} ${withGradients}`);
    if (this.shapes.size > mostShapes) {
      await this.dispose();
      this.shapes.clear();
    }
    return this.sessionOf(variant, withGradients);
  }

  private sessionOf({ contexts, queries }: BatchKind, withGradients: boolean): Promise<StepSession> {
    const key = `${contexts} ${queries} ${withGradients}`;
    let session = this.sessions.get(key);
    if (!session) {
      session = this.create({ contexts, queries }, withGradients);
      this.sessions.set(key, session);
    }
    return session;
  }

  private async create(kind: BatchKind, withGradients: boolean): Promise<StepSession> {
    const { method, mode, wanted, threads } = this.options;
    const variant = { ...kind, method, mode };
    const { model, inputs, parts } = stepGraph(this.config, variant, withGradients ? wanted : new Set());
    return { session: await GraphSession.create(model, inputs, { device: this.device, threads }), parts };
  }

  /** All but the parameters; each loss counts `weight`, and those that pad nothing. */
  private feeds(values: ParameterValues, { sides, feeds, positions }: MicroBatch, weight: number): Feeds {
    const { hiddenSize: D } = this.config;
    const all: Feeds = { ...feeds };
    for (const padded of sides) {
      const shape = [padded.sequences.length, padded.length, D];
      all[`${padded.side}.residual`] = toTensor(embed(padded, values.get(embeddingsName)!, D), shape);
    }
    const { sequences, length } = sides[0]!;
    const scored = positions.rows.length;
    const size = padding.count(scored);
    const rows = new BigInt64Array(size).fill(BigInt(sequences.length * length));
    const places = new BigInt64Array(sequences.length * length).fill(BigInt(size));
    const targets = new BigInt64Array(size);
    for (const [place, row] of positions.rows.entries()) {
      rows[place] = BigInt(row);
      places[row] = BigInt(place);
      targets[place] = BigInt(positions.targets[place]!);
    }
    all.rows = toTensor(rows, [size]);
    all.places = toTensor(places, [places.length]);
    all.targets = toTensor(targets, [size, 1]);
    all.weights = toTensor(new Float32Array(size).fill(weight, 0, scored), [size, 1]);
    return all;
  }
}
