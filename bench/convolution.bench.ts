/**
 * ONNX Runtime's operators for Mamba-2's convolution beside each other, on one thread, in turns in one run:
 * `npx tsx bench/convolution.bench.ts [rounds]`. Sizes are those of the bundled model and of mamba2-130m.
 */
import { cpus } from "node:os";
import * as ort from "onnxruntime-node";
import { Random } from "../src/evaluate/random.js";
import { median } from "../src/evaluate/timing.js";
import { GraphBuilder, type Value } from "../src/onnx/graph.js";

const rounds = Number(process.argv[2] ?? 30);
const kernel = 4;
const random = Random.of(1);
const numbers = (count: number) => Array.from({ length: count }, () => random.float() - 0.5);

type Form = (graph: GraphBuilder, x: Value, past: Value, weight: number[], bias: number[]) => Value;

const forms: Record<string, Form> = {
  CausalConvWithState: (graph, x, past, weight, bias) =>
    graph.nodes(
      "CausalConvWithState",
      [x, graph.constant("f32", weight, [bias.length, 1, kernel]), graph.constant("f32", bias), past],
      2,
      { domain: "com.microsoft", attributes: { ndim: 1, channels_last: 1, activation: "none" } },
    )[0]!,
  "Slice, Mul, Add": (graph, x, past, weight, bias) => {
    const all = graph.node("Concat", [past, x], { attributes: { axis: 1 } });
    const bounds = (step: number) => [step, step === kernel - 1 ? 2 ** 31 : step - kernel + 1, 1];
    const terms = Array.from({ length: kernel }, (_, step) => {
      const part = graph.node("Slice", [all, ...bounds(step).map((value) => graph.constant("i64", [value]))]);
      const factors = bias.map((_, channel) => weight[channel * kernel + step]!);
      return graph.node("Mul", [part, graph.constant("f32", factors)]);
    });
    return terms.reduce((sum, term) => graph.node("Add", [sum, term]), graph.constant("f32", bias));
  },
  "Conv in blocks": (graph, x, past, weight, bias) => {
    const all = graph.node("Concat", [past, x], { attributes: { axis: 1 } });
    const image = graph.node("Unsqueeze", [all, graph.constant("i64", [2])]);
    const channelsFirst = graph.node("Transpose", [image], { attributes: { perm: [0, 3, 1, 2] } });
    const convolved = graph.node(
      "Conv",
      [channelsFirst, graph.constant("f32", weight, [bias.length, 1, kernel, 1]), graph.constant("f32", bias)],
      { attributes: { group: bias.length, kernel_shape: [kernel, 1] } },
    );
    const back = graph.node("Transpose", [convolved], { attributes: { perm: [0, 2, 3, 1] } });
    return graph.node("Squeeze", [back, graph.constant("i64", [2])]);
  },
};

console.log(`${cpus()[0]?.model}, one thread, Node ${process.version}, medians of ${rounds}, in ms\n`);
console.log(`| sequences x tokens x channels | ${Object.keys(forms).join(" | ")} |`);
console.log(`| --- |${" ---: |".repeat(Object.keys(forms).length)}`);
for (const [batch, tokens, channels] of [
  [1, 1, 1280],
  [1, 101, 1280],
  [5, 101, 1280],
  [1, 512, 1280],
  [1, 512, 1792],
] as const) {
  const [weight, bias] = [numbers(channels * kernel), numbers(channels)];
  const feeds = {
    x: new ort.Tensor("float32", Float32Array.from(numbers(batch * tokens * channels)), [batch, tokens, channels]),
    past: new ort.Tensor("float32", Float32Array.from(numbers(batch * 3 * channels)), [batch, kernel - 1, channels]),
  };
  const sessions = await Promise.all(
    Object.values(forms).map((form) => {
      const graph = new GraphBuilder("convolution", "none");
      const x = graph.input("x", "f32", ["B", "T", channels]);
      const past = graph.input("past", "f32", ["B", kernel - 1, channels]);
      graph.output("y", form(graph, x, past, weight, bias), "f32", ["B", "T", channels]);
      return ort.InferenceSession.create(graph.toBytes(), { intraOpNumThreads: 1, logSeverityLevel: 3 });
    }),
  );
  const times = sessions.map(() => [] as number[]);
  const results: Float32Array[] = [];
  for (let round = 0; round < rounds; round++) {
    for (const [i, session] of sessions.entries()) {
      const start = performance.now();
      const { y } = await session.run(feeds);
      times[i]!.push(performance.now() - start);
      results[i] = y!.data as Float32Array;
    }
  }
  for (const result of results) {
    const worst = result.reduce((most, value, at) => Math.max(most, Math.abs(value - results[0]![at]!)), 0);
    if (worst > 1e-6) throw new Error(`the operators differ by ${worst}`);
  }
  console.log(`| ${batch} x ${tokens} x ${channels} | ${times.map((each) => median(each).toFixed(2)).join(" | ")} |`);
}
