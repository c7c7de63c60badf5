/** Where a model runs: on ONNX Runtime's CPU engine, or its WebGPU engine on a graphics processor. */
import type { WeightDtype } from "./quantize.js";

export const devices = ["cpu", "webgpu"] as const;

export type Device = (typeof devices)[number];

/**
 * The devices that compute the same with weights of this form. With rounded weights the CPU rounds activations too and
 * the WebGPU engine does not: states would differ by more than a hundredth.
 */
export function devicesOf(dtype: WeightDtype): readonly Device[] {
  return dtype === "f32" ? devices : ["cpu"];
}
