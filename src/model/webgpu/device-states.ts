/**
 * States of a batch that stay in the memory of the graphics processor between runs.
 *
 * Letters: B batch, L layers, H heads, N state size, P head dimension, W convolution width kept, C its channels.
 */
import type * as ort from "onnxruntime-node";
import type { StateShape } from "../../state/context-state.js";

export class DeviceStates {
  /** `ssm` [B, H, N, P] of each layer, `conv` [B, L*W, C]. */
  constructor(
    readonly ssm: readonly ort.Tensor[],
    readonly conv: ort.Tensor,
  ) {}

  /** Frees the memory; garbage collection would do so late, since it does not see how large it is. */
  dispose(): void {
    for (const tensor of [...this.ssm, this.conv]) tensor.dispose();
  }
}

/** One composed state on the device, to generate from: a `ContextState` whose values are out of reach. */
export interface DeviceState {
  fingerprint: string;
  shape: Readonly<StateShape>;
  tokens: number;
  /** [L, H] */
  logDecay: Float32Array | Float64Array;
  values: DeviceStates;
}
