/** The gradient engine on jax-js: parameters go up once a call, gradients are summed there and come back once. */
import { throwIfAborted } from "../../errors.js";
import type { Mamba2Config } from "../../model/config.js";
import { parameterShapes } from "../../model/parameters.js";
import { countTargets, type TrainingExample } from "../example.js";
import type { EngineOptions, GradientEngine, LossAndGradients, ParameterValues } from "../gradient-engine.js";
import { countContexts, planMicroBatches, queryLength } from "../micro-batches.js";
import { TrainingLoss } from "./loss.js";
import { type MicroBatch, placeMicroBatch } from "./micro-batch.js";
import { bucketLength } from "./packing.js";
import { EngineParameters, GradientSums } from "./parameters.js";

export class JaxEngine implements GradientEngine {
  private readonly trainingLoss: TrainingLoss;
  private readonly shapes: Map<string, number[]>;

  constructor(
    private readonly config: Mamba2Config,
    private readonly options: EngineOptions,
  ) {
    this.trainingLoss = new TrainingLoss(config, options);
    this.shapes = parameterShapes(config);
  }

  async lossAndGradients(
    values: ParameterValues,
    examples: readonly TrainingExample[],
    signal?: AbortSignal,
  ): Promise<LossAndGradients> {
    return this.withParameters(values, async (parameters) => {
      const sums = new GradientSums(parameters);
      try {
        let loss = 0;
        await this.eachMicroBatch(examples, signal, async (batch) => {
          loss += await this.trainingLoss.accumulate(parameters, batch, sums);
        });
        return { loss, gradients: await sums.read() };
      } finally {
        sums.dispose();
      }
    });
  }

  async loss(values: ParameterValues, examples: readonly TrainingExample[], signal?: AbortSignal): Promise<number> {
    return this.withParameters(values, async (parameters) => {
      let loss = 0;
      await this.eachMicroBatch(examples, signal, async (batch) => {
        loss += await this.trainingLoss.evaluate(parameters, batch);
      });
      return loss;
    });
  }

  /** Nothing outlives a call. */
  async dispose(): Promise<void> {}

  private async withParameters<T>(values: ParameterValues, use: (parameters: EngineParameters) => Promise<T>) {
    const parameters = new EngineParameters(this.config, values, this.shapes, this.options.wanted);
    try {
      return await use(parameters);
    } finally {
      parameters.dispose();
    }
  }

  private async eachMicroBatch(
    examples: readonly TrainingExample[],
    signal: AbortSignal | undefined,
    use: (batch: MicroBatch) => Promise<void>,
  ): Promise<void> {
    const { groupTokens, groupContexts } = this.options;
    const weight = 1 / countTargets(examples);
    // Queries are one group; contexts are any number, of which the states are kept.
    const fits = (part: readonly TrainingExample[]) =>
      countContexts(part) <= groupContexts &&
      part.length * bucketLength(Math.max(...part.map(queryLength))) <= groupTokens;
    for (const part of planMicroBatches(examples, queryLength, fits)) {
      throwIfAborted(signal, "training");
      const batch = placeMicroBatch(part, groupTokens, weight);
      try {
        await use(batch);
      } finally {
        batch.dispose();
      }
    }
  }
}
