/**
 * The weighted sum of states on the device: what composition does to the recurrent states. One state after the other
 * goes there and is added, in the order given, so that the result follows from that order alone.
 *
 * Letters: L layers, H heads, N state size, P head dimension.
 */
import * as ort from "onnxruntime-node";
import type { StateShape } from "../../state/context-state.js";
import { createSession, sliceOf, smallGraph } from "./engine.js";

/** A state's values, [L, H, N, P], and what they count for, [L, H]. */
export interface WeightedState {
  ssm: Float32Array;
  weights: Float32Array;
}

export class StateSum {
  private constructor(
    private readonly shape: StateShape,
    private readonly add: ort.InferenceSession,
    private readonly cut: ort.InferenceSession,
  ) {}

  static async create(shape: StateShape): Promise<StateSum> {
    const { layers, heads, stateSize, headDim } = shape;
    const whole = [layers, heads, stateSize, headDim];
    const add = smallGraph("add", (graph) => {
      // The first sum is a single zero.
      const sum = graph.input("sum", "f32", ["l", "h", "n", "p"]);
      const weighted = graph.node("Mul", [
        graph.input("ssm", "f32", whole),
        graph.input("weights", "f32", [layers, heads, 1, 1]),
      ]);
      graph.output("total", graph.node("Add", [sum, weighted]), "f32", whole);
    });
    const cut = smallGraph("cut", (graph) => {
      const total = graph.input("total", "f32", whole);
      for (let layer = 0; layer < layers; layer++) {
        graph.output(`${layer}`, sliceOf(graph, total, 0, layer, layer + 1), "f32", [1, heads, stateSize, headDim]);
      }
    });
    return new StateSum(shape, await createSession(add, "gpu-buffer"), await createSession(cut, "gpu-buffer"));
  }

  /** The sum, [1, H, N, P] of each layer, on the device. */
  async run(states: Iterable<WeightedState>): Promise<ort.Tensor[]> {
    const { layers, heads, stateSize, headDim } = this.shape;
    let total: ort.Tensor = new ort.Tensor("float32", new Float32Array(1), [1, 1, 1, 1]);
    for (const { ssm, weights } of states) {
      const sum = total;
      const results = await this.add.run({
        sum,
        ssm: new ort.Tensor("float32", ssm, [layers, heads, stateSize, headDim]),
        weights: new ort.Tensor("float32", weights, [layers, heads, 1, 1]),
      });
      total = results.total as ort.Tensor;
      sum.dispose();
    }
    const cut = await this.cut.run({ total });
    total.dispose();
    return Array.from({ length: layers }, (_, layer) => cut[layer] as ort.Tensor);
  }

  async dispose(): Promise<void> {
    await this.add.release();
    await this.cut.release();
  }
}
