/** A graph on ONNX Runtime, run on the feeds that it needs. */
import { availableParallelism } from "node:os";
import * as ort from "onnxruntime-node";
import { engineError } from "../../errors.js";
import type { Feeds } from "./feeds.js";

/** What to do when the engine refuses. */
const tooLarge = "Run `picaso doctor`; if memory ran out, use smaller batches or shorter sequences.";

export type GraphDevice = "cpu" | "webgpu";

export class GraphSession {
  private constructor(
    private readonly session: ort.InferenceSession,
    private readonly inputs: readonly string[],
  ) {}

  static async create(
    model: Uint8Array,
    inputs: readonly string[],
    { device, threads = availableParallelism() }: { device: GraphDevice; threads?: number },
  ): Promise<GraphSession> {
    try {
      const session = await ort.InferenceSession.create(model, {
        // On a card the memory of results is kept by size: made anew each time, it takes longer than computing them.
        executionProviders: [device === "webgpu" ? { name: device, storageBufferCacheMode: "simple" } : device],
        intraOpNumThreads: threads,
        graphOptimizationLevel: "all",
        logSeverityLevel: 3,
      });
      return new GraphSession(session, inputs);
    } catch (cause) {
      throw engineError("a graph of the training step", cause, tooLarge);
    }
  }

  /** Runs on those of the feeds that the graph has. Outputs with a tensor in `fetches` are written there. */
  async run(feeds: Feeds, fetches?: Record<string, ort.Tensor | null>): Promise<Record<string, ort.Tensor>> {
    const own: Feeds = {};
    for (const name of this.inputs) {
      const tensor = feeds[name];
      if (!tensor) throw new Error(`the graph needs ${name}`);
      own[name] = tensor;
    }
    try {
      const results = fetches ? await this.session.run(own, fetches) : await this.session.run(own);
      return results as Record<string, ort.Tensor>;
    } catch (cause) {
      throw engineError("a run of the training step", cause, tooLarge);
    }
  }

  async dispose(): Promise<void> {
    await this.session.release();
  }
}
