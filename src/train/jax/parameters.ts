/**
 * A model's parameters on the engine and the sums of their gradients, grouped by layer.
 * Names are those of the checkpoint; a layer's own functions see `layer.` in place of `backbone.layers.{i}.`, so that
 * all layers run through the same compiled code.
 */
import type { Mamba2Config } from "../../model/config.js";
import type { ParameterValues } from "../gradient-engine.js";
import { np, type Tensor, type Tensors } from "./jax.js";

export const EMBEDDINGS = "backbone.embeddings.weight";
export const FINAL_NORM = "backbone.norm_f.weight";
/** Name of a layer inside its compiled functions. */
export const LAYER = "layer";

export class EngineParameters {
  private readonly tensors = new Map<string, Tensor>();

  /** Copies values to the engine; `trained` are those that gradients are summed for. */
  constructor(
    readonly config: Mamba2Config,
    values: ParameterValues,
    shapes: ReadonlyMap<string, readonly number[]>,
    readonly trained: ReadonlySet<string>,
  ) {
    for (const [name, shape] of shapes) this.tensors.set(name, np.array(values.get(name)!).reshape([...shape]));
  }

  /** A parameter, still owned here. */
  get(name: string): Tensor {
    const tensor = this.tensors.get(name);
    if (!tensor) throw new Error(`no parameter ${name}`);
    return tensor;
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

  constructor(parameters: EngineParameters) {
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

  /** The sums, copied from the engine. */
  async read(): Promise<Map<string, Float32Array>> {
    const values = new Map<string, Float32Array>();
    for (const [name, tensor] of this.tensors) values.set(name, (await tensor.ref.data()) as Float32Array);
    return values;
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
