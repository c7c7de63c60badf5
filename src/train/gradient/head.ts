/**
 * Loss and gradients of the end of the model, for blocks of positions at a time: a block's logits are what takes the
 * most memory of a training step.
 *
 * Letters: M positions, V vocabulary, D hidden size.
 */
import type { Mamba2Config } from "../../model/config.js";
import type { ParameterValues } from "./check-inputs.js";
import type { Feeds } from "./feeds.js";
import { toTensor } from "./feeds.js";
import { GraphSession } from "./graph-session.js";
import { headGraph } from "./head-graph.js";

/** Where to predict, and what: rows of the residuals, and as many tokens. */
export interface Positions {
  rows: readonly number[];
  targets: readonly number[];
}

/** Logits of a block at most: 64 MB, a few times over. */
const maxLogits = 1 << 24;

const normName = "backbone.norm_f.weight";

export class Head {
  private readonly sessions = new Map<boolean, Promise<GraphSession>>();
  private readonly headName: string;

  constructor(
    private readonly config: Mamba2Config,
    private readonly threads: number,
    private readonly blockRows = Math.max(1, Math.floor(maxLogits / config.vocabSize)),
  ) {
    this.headName = config.tiedEmbeddings ? "backbone.embeddings.weight" : "lm_head.weight";
  }

  /** Mean loss of the positions in `residual` [rows, D]. */
  async loss(parameters: ParameterValues, residual: Float32Array, positions: Positions): Promise<number> {
    const session = await this.session(false);
    let total = 0;
    for (const block of this.blocks(positions)) {
      const results = await session.run(this.feeds(parameters, residual, block));
      total += sum(results.losses!.data as Float32Array);
    }
    return total / positions.targets.length;
  }

  /** The same, and its gradient: that of the residual is returned, those of the parameters are added to `gradients`. */
  async lossAndGradients(
    parameters: ParameterValues,
    residual: Float32Array,
    positions: Positions,
    gradients: ReadonlyMap<string, Float32Array>,
  ): Promise<{ loss: number; residual: Float32Array }> {
    const session = await this.session(true);
    const { hiddenSize: D } = this.config;
    const ofResidual = new Float32Array(residual.length);
    let total = 0;
    for (const block of this.blocks(positions)) {
      const { length } = block.rows;
      const weights = new Float32Array(length).fill(1 / positions.targets.length);
      const results = await session.run({
        ...this.feeds(parameters, residual, block),
        weights: toTensor(weights, [length, 1]),
      });
      const values = (name: string) => results[name]!.data as Float32Array;
      total += sum(values("losses"));
      addTo(gradients.get(normName)!, values("norm.gradient"));
      addTo(gradients.get(this.headName)!, values("head.gradient"));
      const ofRows = values("residual.gradient");
      for (const [i, row] of block.rows.entries()) ofResidual.set(ofRows.subarray(i * D, (i + 1) * D), row * D);
    }
    return { loss: total / positions.targets.length, residual: ofResidual };
  }

  async dispose(): Promise<void> {
    const sessions = await Promise.all(this.sessions.values());
    this.sessions.clear();
    await Promise.all(sessions.map((session) => session.dispose()));
  }

  private session(withGradients: boolean): Promise<GraphSession> {
    let session = this.sessions.get(withGradients);
    if (!session) {
      const { model, inputs } = headGraph(this.config, withGradients);
      session = GraphSession.create(model, inputs, this.threads);
      this.sessions.set(withGradients, session);
    }
    return session;
  }

  private *blocks({ rows, targets }: Positions): Generator<Positions> {
    for (let start = 0; start < rows.length; start += this.blockRows) {
      const end = start + this.blockRows;
      yield { rows: rows.slice(start, end), targets: targets.slice(start, end) };
    }
  }

  private feeds(parameters: ParameterValues, residual: Float32Array, { rows, targets }: Positions): Feeds {
    const { hiddenSize: D, vocabSize: V } = this.config;
    const picked = new Float32Array(rows.length * D);
    for (const [i, row] of rows.entries()) picked.set(residual.subarray(row * D, (row + 1) * D), i * D);
    return {
      residual: toTensor(picked, [rows.length, D]),
      targets: toTensor(BigInt64Array.from(targets, BigInt), [rows.length, 1]),
      norm: toTensor(parameters.get(normName)!, [D]),
      head: toTensor(parameters.get(this.headName)!, [V, D]),
    };
  }
}

function sum(values: Float32Array): number {
  return values.reduce((a, b) => a + b, 0);
}

function addTo(sums: Float32Array, values: Float32Array): void {
  for (let i = 0; i < sums.length; i++) sums[i]! += values[i]!;
}
