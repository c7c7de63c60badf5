/**
 * The gradient engine on ONNX Runtime: forward keeps each layer's residuals and products, backward computes the rest of
 * the layer again. Layer and head are graphs that our own tape has differentiated; parameters are fed to them as they
 * stand in the host's memory.
 */
import { availableParallelism } from "node:os";
import type * as ort from "onnxruntime-node";
import { throwIfAborted } from "../../errors.js";
import type { Mamba2Config } from "../../model/config.js";
import { countTargets, type TrainingExample } from "../example.js";
import type { EngineOptions, GradientEngine, LossAndGradients, ParameterValues } from "../gradient-engine.js";
import { type Feeds, floats, toTensor } from "./feeds.js";
import { embeddingsName, GradientSums } from "./gradient-sums.js";
import { Head } from "./head.js";
import { LayerSessions } from "./layer-sessions.js";
import { type MicroBatch, onnxMicroBatches, placeMicroBatch } from "./micro-batch.js";
import { partFeeds } from "./parameter-inputs.js";
import { embed } from "./sequences.js";

export class OnnxEngine implements GradientEngine {
  private readonly layers: LayerSessions;
  private readonly head: Head;

  constructor(
    private readonly config: Mamba2Config,
    private readonly options: EngineOptions,
  ) {
    const threads = options.threads ?? availableParallelism();
    this.layers = new LayerSessions(config, options, threads);
    this.head = new Head(config, threads);
  }

  async loss(values: ParameterValues, examples: readonly TrainingExample[], signal?: AbortSignal): Promise<number> {
    let loss = 0;
    for (const batch of this.microBatches(examples)) {
      const { final } = await this.forward(values, batch, null, signal);
      loss += await this.head.loss(values, final, batch.positions);
    }
    return loss / countTargets(examples);
  }

  async lossAndGradients(
    values: ParameterValues,
    examples: readonly TrainingExample[],
    signal?: AbortSignal,
  ): Promise<LossAndGradients> {
    const sums = new GradientSums(values, this.options.wanted);
    const targets = countTargets(examples);
    let loss = 0;
    for (const batch of this.microBatches(examples)) {
      const records: Feeds[] = [];
      const { final } = await this.forward(values, batch, records, signal);
      const end = await this.head.lossAndGradients(values, final, batch.positions, 1 / targets, sums);
      loss += end.loss;
      let cotangents: Feeds = { query: toTensor(end.residual, this.residualShape(batch, "query")) };
      for (let index = this.config.layers - 1; index >= 0; index--) {
        throwIfAborted(signal, "training");
        cotangents = await this.layerBackward(values, batch, index, records.pop()!, cotangents, sums);
      }
      for (const side of batch.sides) sums.addEmbedded(side, cotangents[side.side], this.config.hiddenSize);
    }
    return { loss: loss / targets, gradients: sums.values };
  }

  async dispose(): Promise<void> {
    await Promise.all([this.layers.dispose(), this.head.dispose()]);
  }

  private *microBatches(examples: readonly TrainingExample[]): Generator<MicroBatch> {
    for (const part of onnxMicroBatches(examples, this.options)) {
      yield placeMicroBatch(part, this.options, this.config);
    }
  }

  /** Adds to `records` what goes into each layer, for backward; `final` is the queries' last residual. */
  private async forward(values: ParameterValues, batch: MicroBatch, records: Feeds[] | null, signal?: AbortSignal) {
    const { config } = this;
    const embeddings = values.get(embeddingsName)!;
    let residuals: Feeds = {};
    for (const padded of batch.sides) {
      const shape = this.residualShape(batch, padded.side);
      residuals[`${padded.side}.residual`] = toTensor(embed(padded, embeddings, config.hiddenSize), shape);
    }
    for (let index = 0; index < config.layers; index++) {
      throwIfAborted(signal, "training");
      const { forward, parts } = await this.layers.get(batch.variant, index);
      const results = await forward.run({
        ...batch.feeds,
        ...residuals,
        ...partFeeds(values, parts, `backbone.layers.${index}.`),
      });
      const { "query.next": query, "context.next": context, ...kept } = results;
      records?.push({ ...residuals, ...kept });
      residuals = { "query.residual": query!, ...(context && { "context.residual": context }) };
    }
    return { final: floats(residuals["query.residual"]!) };
  }

  /** From the gradients of what a layer gave, those of what it was given; adds those of its parameters. */
  private async layerBackward(
    values: ParameterValues,
    batch: MicroBatch,
    index: number,
    record: Feeds,
    cotangents: Feeds,
    sums: GradientSums,
  ): Promise<Feeds> {
    const { backward, parts } = await this.layers.get(batch.variant, index);
    const feeds: Feeds = { ...batch.feeds, ...record, ...partFeeds(values, parts, `backbone.layers.${index}.`) };
    for (const [side, cotangent] of Object.entries(cotangents)) feeds[`${side}.cotangent`] = cotangent;
    const fetches: Record<string, ort.Tensor | null> = {};
    const sides = batch.sides
      .map(({ side }) => side)
      .filter((side) => side === "query" || this.options.mode === "bptc");
    for (const side of sides) fetches[`${side}.gradient`] = null;
    const { results, add } = sums.ofLayer(index, parts);
    Object.assign(fetches, results);
    const given = await backward.run(feeds, fetches);
    add();
    return Object.fromEntries(sides.map((side) => [side, given[`${side}.gradient`]!]));
  }

  private residualShape({ sides }: MicroBatch, name: "query" | "context"): number[] {
    const { sequences, length } = sides.find(({ side }) => side === name)!;
    return [sequences.length, length, this.config.hiddenSize];
  }
}
