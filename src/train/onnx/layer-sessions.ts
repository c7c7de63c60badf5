/** The sessions of a training step's layers, made when a batch of their kind first comes. */
import type { Mamba2Config } from "../../model/config.js";
import type { EngineOptions } from "../gradient-engine.js";
import { GraphSession } from "./graph-session.js";
import { type BatchKind, type LayerVariant, layerGraphs } from "./layer-graphs.js";
import type { ParameterPart } from "./parameter-inputs.js";

export interface LayerSession {
  forward: GraphSession;
  backward: GraphSession;
  parts: readonly ParameterPart[];
}

export class LayerSessions {
  private readonly sessions = new Map<string, Promise<LayerSession>>();
  /** Parameters whose gradients some layer needs, by their names inside a layer. */
  private readonly wanted: ReadonlySet<string>;

  constructor(
    private readonly config: Mamba2Config,
    private readonly options: Pick<EngineOptions, "method" | "mode" | "wanted">,
    private readonly threads: number,
  ) {
    this.wanted = new Set([...options.wanted].map((name) => name.replace(/^backbone\.layers\.\d+\./, "")));
  }

  /** The same sessions for all layers but the last. */
  get(kind: BatchKind, index: number): Promise<LayerSession> {
    const isLast = index === this.config.layers - 1;
    const key = `${kind.contexts} ${kind.queries} ${isLast}`;
    let session = this.sessions.get(key);
    if (!session) {
      const { method, mode } = this.options;
      session = this.create({ ...kind, method, mode, isLast });
      this.sessions.set(key, session);
    }
    return session;
  }

  async dispose(): Promise<void> {
    const sessions = await Promise.all(this.sessions.values());
    this.sessions.clear();
    await Promise.all(sessions.flatMap(({ forward, backward }) => [forward.dispose(), backward.dispose()]));
  }

  private async create(variant: LayerVariant): Promise<LayerSession> {
    const { forward, backward, parts } = layerGraphs(this.config, variant, this.wanted);
    return {
      forward: await GraphSession.create(forward.model, forward.inputs, { device: "cpu", threads: this.threads }),
      backward: await GraphSession.create(backward.model, backward.inputs, { device: "cpu", threads: this.threads }),
      parts,
    };
  }
}
