/**
 * Tokens per second of loss and gradients on the bundled model, beside the machine's rate of multiplying matrices:
 * `npx tsx bench/gradients.bench.ts [examples] [contexts] [tokens of each]`.
 */
import { availableParallelism } from "node:os";
import * as ort from "onnxruntime-node";
import { bundledModel } from "../src/model/bundled.js";
import { findModelFiles } from "../src/model/checkpoint/model-files.js";
import { readFloats } from "../src/model/checkpoint/values.js";
import { parameterShapes } from "../src/model/parameters.js";
import { Tape } from "../src/onnx/tape.js";
import { matMul } from "../src/onnx/tensor-ops.js";
import { GradientEngine } from "../src/train/gradient/gradient-engine.js";
import { randomTokens } from "../test/support/random-tokens.js";

const [examples = 4, contexts = 5, length = 128] = process.argv.slice(2).map(Number);
const rounds = 3;

const files = await findModelFiles(bundledModel);
const { config } = files;
const source = await files.openWeights();
const parameters = new Map<string, Float32Array>();
for (const name of parameterShapes(config).keys()) parameters.set(name, await readFloats(source, name));
await source.close();

const batch = Array.from({ length: examples }, (_, e) => ({
  contexts: Array.from({ length: contexts }, (_, k) => randomTokens(length, config.vocabSize, e * 100 + k)),
  query: randomTokens(length / 2, config.vocabSize, e * 100 + 98),
  target: randomTokens(length / 2, config.vocabSize, e * 100 + 99),
}));
const contextTokens = examples * contexts * length;
const queryTokens = examples * (length - 1);
const targets = examples * (length / 2);

const { hiddenSize, layers, innerSize, convDim, heads, vocabSize } = config;
/** Multiplications and additions of a forward pass in linear layers, per token and per target. */
const linear = 2 * layers * hiddenSize * (innerSize + convDim + heads + innerSize);
const head = 2 * hiddenSize * vocabSize;

const rate = await matrixRate();
console.log(`matrices: ${(rate / 1e9).toFixed(0)} GFLOP/s on ${availableParallelism()} threads`);
for (const mode of ["bptc", "bp2c"] as const) {
  const engine = new GradientEngine(config, { method: "picaso-s", mode });
  await engine.lossAndGradients(parameters, batch);
  const seconds = await best(() => engine.lossAndGradients(parameters, batch));
  // Forward once, and twice as much backward; what is computed again does not count.
  const flops = linear * ((mode === "bptc" ? 3 : 1) * contextTokens + 3 * queryTokens) + 3 * head * targets;
  const tokens = contextTokens + queryTokens;
  const share = ((100 * flops) / seconds / rate).toFixed(0);
  const memory = (process.memoryUsage().rss / 2 ** 30).toFixed(2);
  console.log(
    `${mode}: ${tokens} tokens in ${seconds.toFixed(2)} s, ${(tokens / seconds).toFixed(0)} tokens/s, ` +
      `${(flops / seconds / 1e9).toFixed(0)} GFLOP/s in linear layers (${share}% of the rate), ${memory} GiB`,
  );
  await engine.dispose();
}

async function best(work: () => Promise<unknown>): Promise<number> {
  const times = [];
  for (let i = 0; i < rounds; i++) {
    const start = performance.now();
    await work();
    times.push((performance.now() - start) / 1000);
  }
  return Math.min(...times);
}

/** Of a product in float32, large enough for the threads. */
async function matrixRate(): Promise<number> {
  const size = 1536;
  const tape = new Tape();
  const product = matMul(tape.input("a", [size, size]), tape.input("b", [size, size]));
  const session = await ort.InferenceSession.create(tape.emit("rate", [{ name: "c", tensor: product }]).model);
  const matrix = () => new ort.Tensor("float32", new Float32Array(size * size).fill(1), [size, size]);
  const feeds = { a: matrix(), b: matrix() };
  await session.run(feeds);
  const seconds = await best(() => session.run(feeds));
  await session.release();
  return (2 * size ** 3) / seconds;
}
