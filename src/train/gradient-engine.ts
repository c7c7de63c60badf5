/**
 * What a trainer needs of whatever computes gradients: one function over plain arrays. Data, batches, optimizer,
 * checkpoints and export know nothing else of it.
 */
import type { CompositionMethod } from "../compose/weights.js";
import type { Mamba2Config } from "../model/config.js";
import type { TrainingExample } from "./example.js";

/**
 * - `bptc`, backpropagation through composition: gradients reach the contexts' own runs through the composed states
 * - `bp2c`, backpropagation to composition: the composed states count as constants
 *
 * (PICASO, ICLR 2025, section on fine-tuning.)
 */
export type GradientMode = "bptc" | "bp2c";

/** Values by the names that parameters have in Hugging Face checkpoints, row by row; shapes as in model/parameters.ts. */
export type ParameterValues = ReadonlyMap<string, Float32Array>;

export interface EngineOptions {
  method: CompositionMethod;
  mode: GradientMode;
  /** Parameters whose gradients are asked for. */
  wanted: ReadonlySet<string>;
  /** Tokens that go through a layer at once, padding included: bounds memory. */
  groupTokens: number;
  /** Contexts whose states are kept at once: bounds memory. */
  groupContexts: number;
  /** Threads on the CPU. @default all cores */
  threads?: number;
}

export interface LossAndGradients {
  /** Mean cross-entropy in nats over the target tokens of all examples together. */
  loss: number;
  /** Its gradient by each wanted parameter. */
  gradients: Map<string, Float32Array>;
}

/** All methods leave their arguments alone, and throw `aborted` soon after `signal` fires. */
export interface GradientEngine {
  /**
   * Contexts run from the zero state, their states are composed at every layer, query and target run from the composed
   * state, and the target's tokens are scored.
   */
  lossAndGradients(
    parameters: ParameterValues,
    examples: readonly TrainingExample[],
    signal?: AbortSignal,
  ): Promise<LossAndGradients>;

  /** The loss alone. */
  loss(parameters: ParameterValues, examples: readonly TrainingExample[], signal?: AbortSignal): Promise<number>;

  dispose(): Promise<void>;
}

/** Starts an engine. Throws `unsupported` where this machine lacks what it needs. */
export type StartEngine = (config: Mamba2Config, options: EngineOptions) => Promise<GradientEngine>;
