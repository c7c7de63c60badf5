/**
 * Reads states back from the device. The engine's tensors there have no way to their values from Node, so a graph of
 * its own copies them: its inputs are on the device, its outputs on the CPU.
 */
import type * as ort from "onnxruntime-node";
import type { StateShape } from "../../state/context-state.js";
import type { DeviceStates } from "./device-states.js";
import { createSession, smallGraph } from "./engine.js";

export class StateReader {
  private constructor(private readonly session: ort.InferenceSession) {}

  static async create({ layers, heads, stateSize, headDim, convWidth, convDim }: StateShape): Promise<StateReader> {
    const graph = smallGraph("read", (graph) => {
      const copy = (name: string, shape: (number | string)[]) =>
        graph.output(`out.${name}`, graph.input(name, "f32", shape), "f32", shape);
      for (let layer = 0; layer < layers; layer++) copy(`${layer}`, ["B", heads, stateSize, headDim]);
      copy("conv", ["B", layers * convWidth, convDim]);
    });
    return new StateReader(await createSession(graph, "cpu"));
  }

  /** Copies `states` into arrays of the same sizes. */
  async read(states: DeviceStates, into: { ssm: readonly Float32Array[]; conv: Float32Array }): Promise<void> {
    const feeds = Object.fromEntries([...states.ssm.entries(), ["conv", states.conv]]) as Record<string, ort.Tensor>;
    const results = await this.session.run(feeds);
    for (const [layer, array] of into.ssm.entries()) array.set(results[`out.${layer}`]!.data as Float32Array);
    into.conv.set(results["out.conv"]!.data as Float32Array);
  }

  async dispose(): Promise<void> {
    await this.session.release();
  }
}
