/**
 * The gradient engine for a graphics card on ONNX Runtime: a micro-batch is one run of one graph (step-graph.ts), so
 * that only parameters, embedded tokens and gradients pass between the card and the host.
 */
import { throwIfAborted } from "../../errors.js";
import type { Mamba2Config } from "../../model/config.js";
import { countTargets, type TrainingExample } from "../example.js";
import type { EngineOptions, GradientEngine, LossAndGradients, ParameterValues } from "../gradient-engine.js";
import { embeddingsName, floats } from "./engine.js";
import { type Feeds, toTensor } from "./feeds.js";
import { GradientSums } from "./gradient-sums.js";
import { type GraphDevice, GraphSession } from "./graph-session.js";
import type { BatchKind } from "./layer-graphs.js";
import { type MicroBatch, onnxMicroBatches, placeMicroBatch } from "./micro-batch.js";
import { type ParameterPart, partFeeds } from "./parameter-inputs.js";
import { embed, embedBackward } from "./sequences.js";
import { stepGraph } from "./step-graph.js";

/** Tokens of a chunk at most: small products across chunks take a graphics card longer than large ones within. */
const maxChunk = 256;

interface StepSession {
  session: GraphSession;
  parts: readonly ParameterPart[];
}

export class StepEngine implements GradientEngine {
  private readonly sessions = new Map<string, Promise<StepSession>>();

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
    await engine.session({ contexts: "none", queries: "one" }, false);
    return engine;
  }

  async loss(values: ParameterValues, examples: readonly TrainingExample[], signal?: AbortSignal): Promise<number> {
    let total = 0;
    for (const batch of this.microBatches(examples)) {
      throwIfAborted(signal, "training");
      const { session, parts } = await this.session(batch.variant, false);
      const { losses } = await session.run({ ...this.feeds(values, batch), ...partFeeds(values, parts) });
      total += sum(floats(losses!));
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
      const { session, parts } = await this.session(batch.variant, true);
      const { length } = batch.positions.rows;
      const weights = toTensor(new Float32Array(length).fill(1 / targets), [length, 1]);
      const results = await session.run({ ...this.feeds(values, batch), ...partFeeds(values, parts), weights });
      total += sum(floats(results.losses!));
      for (const part of parts) {
        const gradient = results[`gradient.${part.input}`];
        if (gradient) sums.add(part.parameter, floats(gradient), part.from);
      }
      const ofEmbeddings = sums.values.get(embeddingsName);
      for (const side of batch.sides) {
        const gradient = results[`${side.side}.gradient`];
        if (gradient && ofEmbeddings) embedBackward(side, floats(gradient), this.config.hiddenSize, ofEmbeddings);
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
    for (const part of onnxMicroBatches(examples, this.options)) {
      yield placeMicroBatch(part, this.options, this.config, maxChunk);
    }
  }

  private session({ contexts, queries }: BatchKind, withGradients: boolean): Promise<StepSession> {
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

  private feeds(values: ParameterValues, { sides, feeds, positions }: MicroBatch): Feeds {
    const { hiddenSize: D } = this.config;
    const all: Feeds = { ...feeds };
    for (const padded of sides) {
      const shape = [padded.sequences.length, padded.length, D];
      all[`${padded.side}.residual`] = toTensor(embed(padded, values.get(embeddingsName)!, D), shape);
    }
    const { rows, targets } = positions;
    const [query] = sides as [MicroBatch["sides"][0]];
    const places = new BigInt64Array(query.sequences.length * query.length).fill(BigInt(rows.length));
    for (const [place, row] of rows.entries()) places[row] = BigInt(place);
    all.rows = toTensor(BigInt64Array.from(rows, BigInt), [rows.length]);
    all.places = toTensor(places, [places.length]);
    all.targets = toTensor(BigInt64Array.from(targets, BigInt), [targets.length, 1]);
    return all;
  }
}

function sum(values: Float32Array): number {
  return values.reduce((a, b) => a + b, 0);
}
