/**
 * The parameters under training, on the engine: which of them change, and how they are grouped by layer.
 * Names are those of the checkpoint; a layer's own functions see `layer.` in place of `backbone.layers.{i}.`, so that
 * all layers run through the same compiled code.
 */
import type { Mamba2Config } from "../model/config.js";
import { np, type Tensor, type Tensors } from "./jax.js";

export const EMBEDDINGS = "backbone.embeddings.weight";
export const FINAL_NORM = "backbone.norm_f.weight";
/** Name of a layer inside its compiled functions. */
export const LAYER = "layer";

export interface HostTensor {
  shape: readonly number[];
  data: Float32Array;
}

export class TrainedParameters {
  private readonly tensors = new Map<string, Tensor>();

  /** Puts values on the engine; those in `trained` will change. */
  constructor(
    readonly config: Mamba2Config,
    values: ReadonlyMap<string, HostTensor>,
    readonly trained: ReadonlySet<string>,
  ) {
    for (const [name, value] of values) this.add(name, value);
  }

  /** Puts one more on the engine. */
  add(name: string, { shape, data }: HostTensor): void {
    this.tensors.set(name, np.array(data).reshape([...shape]));
  }

  /** Replaces the values of a parameter. */
  replace(name: string, { shape, data }: HostTensor): void {
    this.set(name, np.array(data).reshape([...shape]));
  }

  /** The values of a parameter, copied from the engine. */
  async read(name: string): Promise<Float32Array> {
    return (await this.get(name).ref.data()) as Float32Array;
  }

  names(): string[] {
    return [...this.tensors.keys()];
  }

  /** A parameter, still owned here. */
  get(name: string): Tensor {
    const tensor = this.tensors.get(name);
    if (!tensor) throw new Error(`no parameter ${name}`);
    return tensor;
  }

  /** Replaces a parameter and takes ownership of the new value. */
  set(name: string, tensor: Tensor): void {
    this.get(name).dispose();
    this.tensors.set(name, tensor);
  }

  /** New references to a layer's parameters, for a function that consumes them. */
  layer(index: number): { trained: Tensors; frozen: Tensors } {
    const parts = { trained: {} as Tensors, frozen: {} as Tensors };
    for (const [name, tensor] of this.tensors) {
      const own = ownName(name, index);
      if (own !== null) parts[this.trained.has(name) ? "trained" : "frozen"][own] = tensor.ref;
    }
    return parts;
  }

  dispose(): void {
    for (const tensor of this.tensors.values()) tensor.dispose();
    this.tensors.clear();
  }
}

/** Name of the matrix that makes logits of hidden states. */
export function headOf(config: Mamba2Config): string {
  return config.tiedEmbeddings ? EMBEDDINGS : "lm_head.weight";
}

/** Sums of gradients of the trained parameters. */
export class GradientSums {
  private readonly tensors = new Map<string, Tensor>();

  constructor(parameters: TrainedParameters) {
    for (const name of parameters.trained) this.tensors.set(name, np.zeros(parameters.get(name).shape));
  }

  /** Those of a layer by its own names; ownership goes to the caller until `putLayer`. */
  takeLayer(index: number): Tensors {
    const own: Tensors = {};
    for (const [name, tensor] of this.tensors) {
      const ownOf = ownName(name, index);
      if (ownOf !== null) own[ownOf] = tensor;
    }
    return own;
  }

  putLayer(index: number, sums: Tensors): void {
    for (const [own, tensor] of Object.entries(sums)) {
      this.tensors.set(`backbone.layers.${index}${own.slice(LAYER.length)}`, tensor);
    }
  }

  /** Those of these names that are trained; ownership goes to the caller until `put`. */
  take(names: readonly string[]): Tensors {
    return Object.fromEntries(
      names.flatMap((name) => (this.tensors.has(name) ? [[name, this.tensors.get(name)!]] : [])),
    );
  }

  put(sums: Tensors): void {
    for (const [name, tensor] of Object.entries(sums)) this.tensors.set(name, tensor);
  }

  entries(): [string, Tensor][] {
    return [...this.tensors];
  }

  dispose(): void {
    for (const tensor of this.tensors.values()) tensor.dispose();
    this.tensors.clear();
  }
}

/** `layer.norm.weight` for `backbone.layers.3.norm.weight` and index 3; null for parameters of other places. */
function ownName(name: string, index: number): string | null {
  const prefix = `backbone.layers.${index}.`;
  return name.startsWith(prefix) ? `${LAYER}.${name.slice(prefix.length)}` : null;
}
