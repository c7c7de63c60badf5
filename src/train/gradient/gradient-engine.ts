/**
 * The training loss and its gradient on ONNX Runtime (PICASO, ICLR 2025, section on fine-tuning): contexts run from the
 * zero state, their states are composed at every layer, query and target run from the composed states, and the target's
 * tokens are scored. Forward keeps each layer's residuals, backward runs each layer again.
 *
 * Letters: B sequences, T tokens of each, D hidden size, N state size, H heads.
 */
import { availableParallelism } from "node:os";
import type * as ort from "onnxruntime-node";
import type { CompositionMethod } from "../../compose/weights.js";
import type { Mamba2Config } from "../../model/config.js";
import { checkInputs, type GradientExample, type ParameterValues } from "./check-inputs.js";
import { compositionFeeds } from "./composition.js";
import { type Feeds, toFeeds, toTensor } from "./feeds.js";
import { GraphSession } from "./graph-session.js";
import { Head } from "./head.js";
import { type GradientMode, type LayerVariant, layerGraphs, type ParameterPart } from "./layer-graphs.js";
import { embed, embedBackward, type PaddedSequences, padSequences, type Side, sequenceFeeds } from "./sequences.js";

export interface GradientOptions {
  method: CompositionMethod;
  mode: GradientMode;
  /** @default all cores */
  threads?: number;
  /**
   * Keeps the results of each layer's input projection from forward to backward, the largest product that backward
   * would compute again. Takes 4 (2 expand D + 2 groups N + H) bytes for each token and layer, beside 4 D for residuals.
   * @default true
   */
  keepsProducts?: boolean;
}

export interface LossAndGradients {
  /** Mean of the target tokens' losses, in nats. */
  loss: number;
  /** Target tokens. */
  tokens: number;
  /** Of the loss, by parameter. */
  gradients: Map<string, Float32Array>;
}

interface Batch {
  sides: PaddedSequences[];
  variant: Omit<LayerVariant, "isLast">;
  /** What every layer's graphs are fed alike. */
  feeds: Feeds;
}

interface LayerSessions {
  forward: GraphSession;
  backward: GraphSession;
  parts: readonly ParameterPart[];
}

const embeddingsName = "backbone.embeddings.weight";

export class GradientEngine {
  private readonly sessions = new Map<string, Promise<LayerSessions>>();
  private readonly head: Head;
  private readonly threads: number;

  constructor(
    private readonly config: Mamba2Config,
    private readonly options: GradientOptions,
  ) {
    this.threads = options.threads ?? availableParallelism();
    this.head = new Head(config, this.threads);
  }

  /** The mean loss of the examples' target tokens. Throws as {@link checkInputs}. */
  async loss(
    parameters: ParameterValues,
    examples: readonly GradientExample[],
  ): Promise<{ loss: number; tokens: number }> {
    checkInputs(this.config, parameters, examples);
    const batch = this.place(examples);
    const { final } = await this.forward(parameters, batch, false);
    const positions = this.positions(examples, batch);
    const loss = await this.head.loss(parameters, final, positions);
    return { loss, tokens: positions.targets.length };
  }

  /** The same, and its gradient for every parameter. */
  async lossAndGradients(parameters: ParameterValues, examples: readonly GradientExample[]): Promise<LossAndGradients> {
    checkInputs(this.config, parameters, examples);
    const gradients = new Map([...parameters].map(([name, values]) => [name, new Float32Array(values.length)]));
    const batch = this.place(examples);
    const { final, records } = await this.forward(parameters, batch, true);
    const positions = this.positions(examples, batch);
    const end = await this.head.lossAndGradients(parameters, final, positions, gradients);
    let cotangents: Feeds = { query: toTensor(end.residual, this.residualShape(batch, "query")) };
    for (let index = this.config.layers - 1; index >= 0; index--) {
      cotangents = await this.layerBackward(parameters, batch, index, records.pop()!, cotangents, gradients);
    }
    const { hiddenSize } = this.config;
    for (const side of batch.sides) {
      const gradient = cotangents[side.side];
      if (gradient) embedBackward(side, floats(gradient), hiddenSize, gradients.get(embeddingsName)!);
    }
    return { loss: end.loss, tokens: positions.targets.length, gradients };
  }

  /** Frees the engine's memory. */
  async dispose(): Promise<void> {
    const sessions = await Promise.all(this.sessions.values());
    this.sessions.clear();
    const all = sessions.flatMap(({ forward, backward }) => [forward, backward]);
    await Promise.all([...all.map((session) => session.dispose()), this.head.dispose()]);
  }

  private place(examples: readonly GradientExample[]): Batch {
    const { config } = this;
    const { method, mode, keepsProducts = true } = this.options;
    // The last target is only predicted, never read.
    const query = padSequences(
      "query",
      examples.map((example) => [...example.query, ...example.target.slice(0, -1)]),
    );
    const sides = [query];
    const feeds = sequenceFeeds(query, config);
    const queries = query.chunks === 1 ? "one" : "many";
    const variant: Batch["variant"] = { method, mode, contexts: "none", queries, keepsProducts };
    const slots = Math.max(...examples.map(({ contexts }) => contexts.length));
    if (slots > 0) {
      const empty = (count: number) => Array.from({ length: count }, () => []);
      const context = padSequences(
        "context",
        examples.flatMap(({ contexts }) => [...contexts, ...empty(slots - contexts.length)]),
      );
      sides.push(context);
      variant.contexts = context.chunks === 1 ? "one" : "many";
      const counts = examples.map(({ contexts }) => contexts.length);
      feeds.push(...sequenceFeeds(context, config), ...compositionFeeds(counts, slots, method));
    }
    return { sides, variant, feeds: toFeeds(feeds) };
  }

  /** `records`: what goes into each layer, for backward. */
  private async forward(parameters: ParameterValues, batch: Batch, keep: boolean) {
    const { config } = this;
    const embeddings = parameters.get(embeddingsName)!;
    let residuals: Feeds = {};
    for (const padded of batch.sides) {
      const shape = this.residualShape(batch, padded.side);
      residuals[`${padded.side}.residual`] = toTensor(embed(padded, embeddings, config.hiddenSize), shape);
    }
    const records: Feeds[] = [];
    for (let index = 0; index < config.layers; index++) {
      const { forward, parts } = await this.sessionsOf(batch.variant, index);
      const results = await forward.run({ ...batch.feeds, ...residuals, ...partFeeds(parameters, index, parts) });
      const { "query.next": query, "context.next": context, ...kept } = results;
      if (keep) records.push({ ...residuals, ...kept });
      residuals = { "query.residual": query!, ...(context && { "context.residual": context }) };
    }
    return { final: floats(residuals["query.residual"]!), records };
  }

  /** From the gradients of what a layer gave, those of what it was given; adds those of its parameters. */
  private async layerBackward(
    parameters: ParameterValues,
    batch: Batch,
    index: number,
    record: Feeds,
    cotangents: Feeds,
    gradients: Map<string, Float32Array>,
  ): Promise<Feeds> {
    const { backward, parts } = await this.sessionsOf(batch.variant, index);
    const feeds: Feeds = { ...batch.feeds, ...record, ...partFeeds(parameters, index, parts) };
    for (const [side, cotangent] of Object.entries(cotangents)) feeds[`${side}.cotangent`] = cotangent;
    const fetches: Record<string, ort.Tensor | null> = {};
    const sides = batch.sides
      .map(({ side }) => side)
      .filter((side) => side === "query" || batch.variant.mode === "bptc");
    for (const side of sides) fetches[`${side}.gradient`] = null;
    for (const part of parts) fetches[`gradient.${part.input}`] = partTensor(gradients, index, part);
    const results = await backward.run(feeds, fetches);
    return Object.fromEntries(sides.map((side) => [side, results[`${side}.gradient`]!]));
  }

  private sessionsOf(variant: Batch["variant"], index: number): Promise<LayerSessions> {
    const isLast = index === this.config.layers - 1;
    const key = `${variant.contexts} ${variant.queries} ${isLast}`;
    let sessions = this.sessions.get(key);
    if (!sessions) {
      sessions = this.createSessions({ ...variant, isLast });
      this.sessions.set(key, sessions);
    }
    return sessions;
  }

  private async createSessions(variant: LayerVariant): Promise<LayerSessions> {
    const { forward, backward, parts } = layerGraphs(this.config, variant);
    return {
      forward: await GraphSession.create(forward.model, forward.inputs, this.threads),
      backward: await GraphSession.create(backward.model, backward.inputs, this.threads),
      parts,
    };
  }

  private residualShape({ sides }: Batch, name: Side): number[] {
    const { sequences, length } = sides.find(({ side }) => side === name)!;
    return [sequences.length, length, this.config.hiddenSize];
  }

  /** Rows of the queries' residuals after which a target comes. */
  private positions(examples: readonly GradientExample[], { sides }: Batch) {
    const { length } = sides[0]!;
    const rows = examples.flatMap(({ query, target }, e) => target.map((_, i) => e * length + query.length - 1 + i));
    return { rows, targets: examples.flatMap(({ target }) => target) };
  }
}

function partFeeds(values: ParameterValues, index: number, parts: readonly ParameterPart[]): Feeds {
  return Object.fromEntries(parts.map((part) => [part.input, partTensor(values, index, part)]));
}

/** A view of a layer's parameter, not a copy. */
function partTensor(values: ParameterValues, index: number, { parameter, from, to, shape }: ParameterPart): ort.Tensor {
  return toTensor(values.get(`backbone.layers.${index}.${parameter}`)!.subarray(from, to), shape);
}

function floats(tensor: ort.Tensor): Float32Array {
  return tensor.data as Float32Array;
}
