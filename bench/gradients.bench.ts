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
const rounds = 5;

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
for (const mode of ["bptc", "bp2c"] as const) {
  const engine = new GradientEngine(config, { method: "picaso-s", mode });
  await engine.lossAndGradients(parameters, batch);
  // Forward once, and twice as much backward; what is computed again does not count.
  const flops = linear * ((mode === "bptc" ? 3 : 1) * contextTokens + 3 * queryTokens) + 3 * head * targets;
  const tokens = contextTokens + queryTokens;
  // The rate is measured beside every round: other work on the machine slows both.
  const measured: { seconds: number; matrices: number; share: number }[] = [];
  for (let round = 0; round < rounds; round++) {
    const before = await rate.measure();
    const seconds = await time(() => engine.lossAndGradients(parameters, batch));
    const matrices = (before + (await rate.measure())) / 2;
    measured.push({ seconds, matrices, share: flops / seconds / matrices });
  }
  measured.sort((a, b) => a.share - b.share);
  const { seconds, matrices, share } = measured[Math.floor(rounds / 2)]!;
  console.log(
    `${mode}: ${tokens} tokens in ${seconds.toFixed(2)} s, ${(tokens / seconds).toFixed(0)} tokens/s; linear layers at ` +
      `${(flops / seconds / 1e9).toFixed(0)} GFLOP/s, ${(100 * share).toFixed(0)}% of the ${(matrices / 1e9).toFixed(0)} ` +
      `of one large product; ${availableParallelism()} threads, ${(process.memoryUsage().rss / 2 ** 30).toFixed(2)} GiB ` +
      `(median of ${rounds}, shares ${measured.map((m) => `${(100 * m.share).toFixed(0)}%`).join(" ")})`,
  );
  await engine.dispose();
}
await rate.release();

async function time(work: () => Promise<unknown>): Promise<number> {
  const start = performance.now();
  await work();
  return (performance.now() - start) / 1000;
}

/** Floating-point operations a second of a product in float32, large enough for the threads. */
async function matrixRate() {
  const size = 1536;
  const tape = new Tape();
  const product = matMul(tape.input("a", [size, size]), tape.input("b", [size, size]));
  const session = await ort.InferenceSession.create(tape.emit("rate", [{ name: "c", tensor: product }]).model);
  const matrix = () => new ort.Tensor("float32", new Float32Array(size * size).fill(1), [size, size]);
  const feeds = { a: matrix(), b: matrix() };
  const measure = async () => {
    const seconds = await time(async () => {
      for (let i = 0; i < 4; i++) await session.run(feeds);
    });
    return (4 * 2 * size ** 3) / seconds;
  };
  await measure();
  return { measure, release: () => session.release() };
}
