/** What a training changes, in memory: a model's own parameters, or additions to them. */
import type { ModelFiles } from "../model/checkpoint/model-files.js";
import { readFloats } from "../model/checkpoint/values.js";
import { checkParameters, parameterShapes } from "../model/parameters.js";
import type { ParameterValues } from "./gradient-engine.js";

export interface HostTensor {
  shape: readonly number[];
  data: Float32Array;
}

export interface TrainableParameters {
  /** What the optimizer changes, in place. */
  readonly trained: ReadonlyMap<string, HostTensor>;
  /** The model's parameters whose gradients are needed for that. */
  readonly wanted: ReadonlySet<string>;
  /** All parameters of the model as they are now; good until `trained` changes. */
  values(): ParameterValues;
  /** Gradients by `trained` from those by the wanted parameters. */
  gradients(ofModel: ReadonlyMap<string, Float32Array>): ReadonlyMap<string, Float32Array>;
}

/** Every parameter of the model is trained. */
export class FullParameters implements TrainableParameters {
  readonly wanted: ReadonlySet<string>;
  private readonly model: ParameterValues;

  constructor(readonly trained: ReadonlyMap<string, HostTensor>) {
    this.wanted = new Set(trained.keys());
    this.model = new Map([...trained].map(([name, { data }]) => [name, data]));
  }

  values(): ParameterValues {
    return this.model;
  }

  gradients(ofModel: ReadonlyMap<string, Float32Array>): ReadonlyMap<string, Float32Array> {
    return ofModel;
  }
}

/** Reads a checkpoint's parameters. Throws `bad-file` where they do not fit config.json. */
export async function readParameters(files: ModelFiles): Promise<Map<string, HostTensor>> {
  const source = await files.openWeights();
  try {
    checkParameters(source, files.config, files.weightFiles[0]!);
    const values = new Map<string, HostTensor>();
    for (const [name, shape] of parameterShapes(files.config)) {
      values.set(name, { shape, data: await readFloats(source, name) });
    }
    return values;
  } finally {
    await source.close();
  }
}
