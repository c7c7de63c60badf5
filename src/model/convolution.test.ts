/** The convolution of every form against plain loops, through ONNX Runtime. */
import * as ort from "onnxruntime-node";
import { expect, test } from "vitest";
import { Random } from "../evaluate/random.js";
import { GraphBuilder } from "../onnx/graph.js";
import { mamba2Config } from "./config.js";
import type { Device } from "./device.js";
import { OnnxOperations } from "./onnx-operations.js";

const random = Random.of(3);
const numbers = (count: number) => Float32Array.from({ length: count }, () => random.float() - 0.5);

interface Given {
  channels: number;
  kernel: number;
  hasBias: boolean;
}

function convolutionGraph({ channels, kernel, hasBias }: Given, device: Device) {
  const json = { model_type: "mamba2", hidden_size: channels / 4, expand: 2, num_heads: 1, head_dim: channels / 2 };
  const config = mamba2Config(
    { ...json, state_size: channels / 4, n_groups: 1, conv_kernel: kernel, vocab_size: 9, num_hidden_layers: 1 },
    "test",
  );
  expect(config.convDim).toBe(channels);
  const [weight, bias] = [numbers(channels * kernel), numbers(channels)];
  const graph = new GraphBuilder("convolution", "none");
  const tokens = graph.input("tokens", "i64", ["B", "T"]);
  const lengths = graph.input("lengths", "i64", ["B"]);
  const x = graph.input("x", "f32", ["B", "T", channels]);
  const past = graph.input("past", "f32", ["B", kernel - 1, channels]);
  const weights = {
    tensor: (name: string) =>
      name === "weight" ? graph.constant("f32", [...weight], [channels, 1, kernel]) : graph.constant("f32", [...bias]),
    product: () => expect.unreachable(),
    gather: () => expect.unreachable(),
  };
  const ops = new OnnxOperations(graph, weights, config, device, tokens, lengths);
  const { output } = ops.causalConv(x, past, "weight", hasBias ? "bias" : null);
  graph.output("y", output, "f32", ["B", "T", channels]);
  return { model: graph.toBytes(), weight, bias: hasBias ? bias : new Float32Array(channels) };
}

const usesOperator = (model: Uint8Array) => Buffer.from(model).includes("CausalConvWithState");

const all = [2, 3, 4, 5].flatMap((kernel) =>
  [32, 40].flatMap((channels) => [true, false].map((hasBias) => ({ kernel, channels, hasBias }))),
);

test.each(all)("kernel $kernel, $channels channels, bias: $hasBias", async (given) => {
  const { channels, kernel } = given;
  const { model, weight, bias } = convolutionGraph(given, "cpu");
  // Blocks hold 8 or 16 channels.
  expect(usesOperator(model)).toBe(process.arch !== "x64" || channels % 16 !== 0);
  const session = await ort.InferenceSession.create(model, { intraOpNumThreads: 1 });
  for (const [batch, count] of [
    [1, 1],
    [3, 2],
    [2, 37],
  ] as const) {
    const [x, past] = [numbers(batch * count * channels), numbers(batch * (kernel - 1) * channels)];
    const integers = (length: number, value: number) => BigInt64Array.from({ length }, () => BigInt(value));
    const { y } = await session.run({
      tokens: new ort.Tensor("int64", integers(batch * count, 0), [batch, count]),
      lengths: new ort.Tensor("int64", integers(batch, count), [batch]),
      x: new ort.Tensor("float32", x, [batch, count, channels]),
      past: new ort.Tensor("float32", past, [batch, kernel - 1, channels]),
    });
    const input = (b: number, t: number, c: number) =>
      t < 0 ? past[(b * (kernel - 1) + t + kernel - 1) * channels + c]! : x[(b * count + t) * channels + c]!;
    for (const [i, value] of (y!.data as Float32Array).entries()) {
      const [b, t, c] = [Math.floor(i / channels / count), Math.floor(i / channels) % count, i % channels];
      let sum = bias[c]!;
      for (let k = 0; k < kernel; k++) sum += weight[c * kernel + k]! * input(b, t - kernel + 1 + k, c);
      expect(Math.abs(value - sum / (1 + Math.exp(-sum)))).toBeLessThan(1e-6);
    }
  }
  await session.release();
});

test("WebGPU keeps the operator", () => {
  expect(usesOperator(convolutionGraph({ channels: 32, kernel: 4, hasBias: true }, "webgpu").model)).toBe(true);
});
