/**
 * Loss and gradients of the end of the model, for blocks of positions at a time: a block's logits are what takes the
 * most memory of a training step.
 *
 * Letters: M positions, V vocabulary, D hidden size.
 */
import type { Mamba2Config } from "../../model/config.js";
import type { ParameterValues } from "../gradient-engine.js";
import { type Feeds, sum, toTensor } from "./feeds.js";
import type { GradientSums } from "./gradient-sums.js";
import { GraphSession } from "./graph-session.js";
import { type HeadSource, headGraph, headSources } from "./head-graph.js";

/** Where to predict, and what: rows of the residuals, and as many tokens. */
export interface Positions {
  rows: readonly number[];
  targets: readonly number[];
}

/** Logits of a block at most: 64 MB, a few times over. */
const maxLogits = 1 << 24;

const normName = "backbone.norm_f.weight";

export class Head {
  private readonly sessions = new Map<string, Promise<GraphSession>>();
  private readonly headName: string;

  constructor(
    private readonly config: Mamba2Config,
    private readonly threads: number,
    private readonly blockRows = Math.max(1, Math.floor(maxLogits / config.vocabSize)),
  ) {
    this.headName = config.tiedEmbeddings ? "backbone.embeddings.weight" : "lm_head.weight";
  }

  /** Sum of the losses of the positions in `residual` [rows, D]. */
  async loss(parameters: ParameterValues, residual: Float32Array, positions: Positions): Promise<number> {
    const session = await this.session([]);
    let total = 0;
    for (const block of this.blocks(positions)) {
      const results = await session.run(this.feeds(parameters, residual, block));
      total += sum(results.losses!.data as Float32Array);
    }
    return total;
  }

  /**
   * The same, and the gradient of that sum times `weight`: that of the residual is returned, those of the parameters are
   * added to `sums`.
   */
  async lossAndGradients(
    parameters: ParameterValues,
    residual: Float32Array,
    positions: Positions,
    weight: number,
    sums: GradientSums,
  ): Promise<{ loss: number; residual: Float32Array }> {
    const sources = headSources.filter((source) => source === "residual" || sums.values.has(this.nameOf(source)));
    const session = await this.session(sources);
    const { hiddenSize: D } = this.config;
    const ofResidual = new Float32Array(residual.length);
    let total = 0;
    for (const block of this.blocks(positions)) {
      const { length } = block.rows;
      const weights = new Float32Array(length).fill(weight);
      const results = await session.run({
        ...this.feeds(parameters, residual, block),
        weights: toTensor(weights, [length, 1]),
      });
      const values = (name: string) => results[name]!.data as Float32Array;
      total += sum(values("losses"));
      for (const source of sources) {
        if (source !== "residual") sums.add(this.nameOf(source), values(`${source}.gradient`));
      }
      const ofRows = values("residual.gradient");
      for (const [i, row] of block.rows.entries()) ofResidual.set(ofRows.subarray(i * D, (i + 1) * D), row * D);
    }
    return { loss: total, residual: ofResidual };
  }

  async dispose(): Promise<void> {
    const sessions = await Promise.all(this.sessions.values());
    this.sessions.clear();
    await Promise.all(sessions.map((session) => session.dispose()));
  }

  private session(sources: readonly HeadSource[]): Promise<GraphSession> {
    const key = `${sources}`;
    let session = this.sessions.get(key);
    if (!session) {
      const { model, inputs } = headGraph(this.config, sources);
      session = GraphSession.create(model, inputs, { device: "cpu", threads: this.threads });
      this.sessions.set(key, session);
    }
    return session;
  }

  private nameOf(source: "norm" | "head"): string {
    return source === "norm" ? normName : this.headName;
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
