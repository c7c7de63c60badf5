/** Sums of the wanted gradients over micro-batches, in the host's memory. */
import type * as ort from "onnxruntime-node";
import type { ParameterValues } from "../gradient-engine.js";
import { floats, toTensor } from "./feeds.js";
import type { ParameterPart } from "./parameter-inputs.js";
import { embedBackward, type PaddedSequences } from "./sequences.js";

export const embeddingsName = "backbone.embeddings.weight";

export class GradientSums {
  /** By parameter; those that are not wanted have none. */
  readonly values: Map<string, Float32Array>;
  /** Layers that have gradients from an earlier micro-batch. */
  private readonly begun = new Set<number>();
  /** Where a layer's further gradients are written before they are added, by part: the same memory for all layers. */
  private readonly further = new Map<string, Float32Array>();

  constructor(parameters: ParameterValues, wanted: ReadonlySet<string>) {
    const chosen = [...parameters].filter(([name]) => wanted.has(name));
    this.values = new Map(chosen.map(([name, { length }]) => [name, new Float32Array(length)]));
  }

  /**
   * Where a layer's gradients are to be written by the backward graph, by output; `add` is to be called after that. The
   * first ones of a layer go where the sums are, so that a step of one micro-batch adds and copies nothing.
   */
  ofLayer(index: number, parts: readonly ParameterPart[]): { results: Record<string, ort.Tensor>; add: () => void } {
    const isFirst = !this.begun.has(index);
    this.begun.add(index);
    const results: Record<string, ort.Tensor> = {};
    const sums: { sum: Float32Array; values: Float32Array }[] = [];
    for (const { input, parameter, from, to, shape } of parts) {
      const sum = this.values.get(`backbone.layers.${index}.${parameter}`)?.subarray(from, to);
      if (!sum) continue;
      const values = isFirst ? sum : this.scratch(input, sum.length);
      results[`gradient.${input}`] = toTensor(values, shape);
      if (!isFirst) sums.push({ sum, values });
    }
    return {
      results,
      add: () => {
        for (const { sum, values } of sums) addTo(sum, values);
      },
    };
  }

  /** Adds to a parameter's gradient from element `from` on, where it is wanted. */
  add(name: string, values: Float32Array, from = 0): void {
    const sum = this.values.get(name);
    if (sum) addTo(sum.subarray(from, from + values.length), values);
  }

  /** Adds the gradient of a side's embedded tokens, where there is one, to that of the embeddings, if that is wanted. */
  addEmbedded(side: PaddedSequences, gradient: ort.Tensor | undefined, hiddenSize: number): void {
    const embeddings = this.values.get(embeddingsName);
    if (gradient && embeddings) embedBackward(side, floats(gradient), hiddenSize, embeddings);
  }

  private scratch(input: string, size: number): Float32Array {
    let values = this.further.get(input);
    if (!values) {
      values = new Float32Array(size);
      this.further.set(input, values);
    }
    return values;
  }
}

function addTo(sums: Float32Array, values: Float32Array): void {
  for (let i = 0; i < sums.length; i++) sums[i]! += values[i]!;
}
