/**
 * The training loss and its gradient (PICASO, ICLR 2025, section on fine-tuning): contexts run from the zero state,
 * their states are composed at every layer, query and target run from the composed states, and the target's tokens are
 * scored.
 *
 * Works layer by layer: forward keeps each layer's inputs and the contexts' states, backward runs each layer again.
 */
import type { Mamba2Config } from "../../model/config.js";
import type { EngineOptions } from "../gradient-engine.js";
import { type ContextGroup, StateComposition } from "./compose-states.js";
import { type EndFunctions, endFunctions } from "./head.js";
import { blockUntilReady, np, type Tensor, type Tensors, tree } from "./jax.js";
import { type LayerFunctions, layerFunctions, type PastState, type ZeroState } from "./layer.js";
import type { MicroBatch } from "./micro-batch.js";
import { EMBEDDINGS, type EngineParameters, FINAL_NORM, type GradientSums, headOf } from "./parameters.js";

/** What forward keeps of each layer for backward. */
interface LayerRecord {
  /** Residual that went in: per group of contexts, and of the queries. */
  contexts: Tensor[];
  query: Tensor;
  states: ContextGroup[];
  past: PastState | ZeroState;
}

export class TrainingLoss {
  private readonly layer: LayerFunctions;
  private readonly ends: EndFunctions;
  private readonly composition: StateComposition;

  constructor(
    private readonly config: Mamba2Config,
    private readonly options: Pick<EngineOptions, "method" | "mode">,
  ) {
    this.layer = layerFunctions(config);
    this.ends = endFunctions(config);
    this.composition = new StateComposition(options.method);
  }

  /** The weighted sum of the losses of a micro-batch's targets. */
  async evaluate(parameters: EngineParameters, batch: MicroBatch): Promise<number> {
    const { final } = await this.forward(parameters, batch, false);
    let loss = 0;
    for (const part of batch.predictions) {
      const { trained, frozen } = this.endParameters(parameters);
      const sum = this.ends.loss({ ...trained, ...frozen }, final.ref, tree.ref(part));
      loss += await scalar(sum);
    }
    final.dispose();
    return loss;
  }

  /** The same, and adds its gradient to `sums`. */
  async accumulate(parameters: EngineParameters, batch: MicroBatch, sums: GradientSums): Promise<number> {
    const { final, records } = await this.forward(parameters, batch, true);
    let query: Tensor = np.zeros(final.shape);
    let loss = 0;
    for (const part of batch.predictions) {
      const { trained, frozen } = this.endParameters(parameters);
      const own = sums.take(Object.keys(trained));
      const result = this.ends.lossBackward(trained, frozen, final.ref, tree.ref(part), query, own);
      await blockUntilReady(result);
      sums.put(result.sums);
      query = result.residualSum;
      loss += await scalar(result.loss);
    }
    final.dispose();

    // Nothing reads the contexts' last residual.
    let contexts: Tensor[] | null = null;
    for (let index = records.length - 1; index >= 0; index--) {
      const gradients = await this.layerBackward(parameters, batch, index, records.pop()!, { query, contexts }, sums);
      query = gradients.query;
      contexts = gradients.contexts;
    }
    await this.embedBackward(parameters, batch.query.tokens, query, sums);
    for (const [g, gradient] of contexts?.entries() ?? []) {
      await this.embedBackward(parameters, batch.contexts[g]!.tokens, gradient, sums);
    }
    return loss;
  }

  private async forward(parameters: EngineParameters, batch: MicroBatch, keep: boolean) {
    const embeddings = parameters.get(EMBEDDINGS);
    let contexts = batch.contexts.map(({ tokens }) => this.ends.embed(embeddings.ref, tokens.ref));
    let query = this.ends.embed(embeddings.ref, batch.query.tokens.ref);
    const records: LayerRecord[] = [];
    for (let index = 0; index < this.config.layers; index++) {
      const outputs = [];
      for (const [g, residual] of contexts.entries()) {
        const input = { residual: residual.ref, lengths: batch.contexts[g]!.lengths.ref };
        const output = this.layer.context(parameters.layer(index), input);
        outputs.push(await blockUntilReady(output));
      }
      const states = outputs.map(({ ssm, conv, logDecay }): ContextGroup => ({ ssm, conv, logDecay }));
      const past: PastState | ZeroState =
        states.length === 0 ? {} : this.composition.forward(tree.ref(states), batch.places);
      const input = { residual: query.ref, lengths: batch.query.lengths.ref };
      const next = this.layer.query(parameters.layer(index), input, tree.ref(past));
      await blockUntilReady(next);
      const record = { contexts, query, states, past };
      if (keep) records.push(record);
      else tree.dispose(record);
      contexts = outputs.map(({ residual }) => residual);
      query = next;
    }
    tree.dispose(contexts);
    return { final: query, records };
  }

  /** Takes the gradients of what a layer gave, returns those of what it was given. Consumes record and gradients. */
  private async layerBackward(
    parameters: EngineParameters,
    batch: MicroBatch,
    index: number,
    record: LayerRecord,
    gradients: { query: Tensor; contexts: Tensor[] | null },
    sums: GradientSums,
  ): Promise<{ query: Tensor; contexts: Tensor[] | null }> {
    const { past, states } = record;
    const input = { residual: record.query, lengths: batch.query.lengths.ref };
    const layer = parameters.layer(index);
    const own = sums.takeLayer(index);
    if (this.options.mode === "bp2c" || !("ssm" in past)) {
      const result = this.layer.queryBackwardFixed(layer, input, past, gradients.query, own);
      await blockUntilReady(result);
      sums.putLayer(index, result.sums);
      tree.dispose([record.contexts, states]);
      return { query: result.residual, contexts: null };
    }
    const result = this.layer.queryBackward(layer, input, past as PastState, gradients.query, own);
    await blockUntilReady(result);
    sums.putLayer(index, result.sums);
    const ofStates = this.composition.backward(states, batch.places, result.past);
    const contexts: Tensor[] = [];
    for (const [g, residual] of record.contexts.entries()) {
      const gradient = { residual: gradients.contexts?.[g] ?? np.zeros(residual.shape), ...ofStates[g]! };
      const from = this.layer.contextBackward(
        parameters.layer(index),
        { residual, lengths: batch.contexts[g]!.lengths.ref },
        gradient,
        sums.takeLayer(index),
      );
      await blockUntilReady(from);
      sums.putLayer(index, from.sums);
      contexts.push(from.residual);
    }
    return { query: result.residual, contexts };
  }

  private async embedBackward(
    parameters: EngineParameters,
    tokens: Tensor,
    gradient: Tensor,
    sums: GradientSums,
  ): Promise<void> {
    if (!parameters.trained.has(EMBEDDINGS)) return gradient.dispose();
    const sum = this.ends.embedBackward(tokens.ref, gradient, sums.take([EMBEDDINGS])[EMBEDDINGS]!);
    await blockUntilReady(sum);
    sums.put({ [EMBEDDINGS]: sum });
  }

  /** New references to the parameters that the loss reads. */
  private endParameters(parameters: EngineParameters): { trained: Tensors; frozen: Tensors } {
    const parts = { trained: {} as Tensors, frozen: {} as Tensors };
    for (const name of [FINAL_NORM, headOf(this.config)]) {
      parts[parameters.trained.has(name) ? "trained" : "frozen"][name] = parameters.get(name).ref;
    }
    return parts;
  }
}

async function scalar(tensor: Tensor): Promise<number> {
  const [value] = await tensor.data();
  return Number(value);
}
