/**
 * How fast each engine computes the gradients of the bundled model: `npx tsx bench/train.bench.ts [engine,...] [rounds]`.
 * All are timed in turns within each round, and the machine's rate of multiplying matrices (one large product on ONNX
 * Runtime) just before and after each, so that other work on the machine disturbs all alike. Medians are printed, without
 * the first round, which compiles.
 *
 * Only operations of linear layers and the head count as work: 2 for each weight and token forward and 4 backward, where
 * gradients flow. What an engine computes twice, recurrence, convolution and norms come on top in time alone.
 */
import { availableParallelism } from "node:os";
import * as ort from "onnxruntime-node";
import { bundledModel } from "../src/model/bundled.js";
import { findModelFiles } from "../src/model/checkpoint/model-files.js";
import { Tape } from "../src/onnx/tape.js";
import { matMul } from "../src/onnx/tensor-ops.js";
import { loadEngine, type TrainingEngine } from "../src/train/engines.js";
import { countTargets, countTokens } from "../src/train/example.js";
import type { GradientMode } from "../src/train/gradient-engine.js";
import { countContexts } from "../src/train/micro-batches.js";
import { groupTokensOf } from "../src/train/options.js";
import { FullParameters, readParameters } from "../src/train/parameters.js";
import { randomTokens } from "../test/support/random-tokens.js";

const engines = (process.argv[2] ?? "onnx,jax-cpu").split(",") as TrainingEngine[];
const rounds = Number(process.argv[3] ?? 3);

const contextTokens = 128;
const files = await findModelFiles(bundledModel);
const { config } = files;
const values = new FullParameters(await readParameters(files)).values();
const examples = Array.from({ length: 2 }, (_, e) => ({
  contexts: Array.from({ length: 5 }, (_, k) => randomTokens(contextTokens, config.vocabSize, e * 100 + k)),
  query: randomTokens(64, config.vocabSize, e * 100 + 98),
  target: randomTokens(64, config.vocabSize, e * 100 + 99),
}));
const tokens = countTokens(examples);

/** A way to train, and what it took in each round. */
interface Candidate {
  name: string;
  /** Operations of a step that count. */
  operations: number;
  step: () => Promise<void>;
  measured: { seconds: number; rate: number; share: number }[];
}

async function candidate(engine: TrainingEngine, mode: GradientMode): Promise<Candidate> {
  const limits = { groupTokens: groupTokensOf(engine), groupContexts: 32 };
  const start = await loadEngine(engine);
  const running = await start(config, { method: "picaso-r", mode, wanted: new Set(values.keys()), ...limits });
  const step = async () => {
    await running.lossAndGradients(values, examples);
  };
  return { name: `${engine}, ${mode}`, operations: operationsOf(mode), step, measured: [] };
}

function operationsOf(mode: GradientMode): number {
  const { hiddenSize, layers, innerSize, convDim, heads, vocabSize } = config;
  const weights = layers * hiddenSize * (innerSize + convDim + heads + innerSize);
  const ofContexts = countContexts(examples) * contextTokens;
  const passes = (mode === "bptc" ? 6 : 2) * ofContexts + 6 * (tokens - ofContexts);
  return weights * passes + 6 * hiddenSize * vocabSize * countTargets(examples);
}

/** Measures operations a second of a product in float32, large enough for the threads. */
async function matrixRate(): Promise<() => Promise<number>> {
  const size = 1536;
  const tape = new Tape();
  const product = matMul(tape.input("a", [size, size]), tape.input("b", [size, size]));
  const session = await ort.InferenceSession.create(tape.emit("rate", [{ name: "c", tensor: product }]).model);
  const matrix = () => new ort.Tensor("float32", new Float32Array(size * size).fill(1), [size, size]);
  const feeds = { a: matrix(), b: matrix() };
  return async () => {
    const seconds = await secondsOf(async () => {
      for (let i = 0; i < 4; i++) await session.run(feeds);
    });
    return (4 * 2 * size ** 3) / seconds;
  };
}

async function secondsOf(run: () => Promise<unknown>): Promise<number> {
  const begin = performance.now();
  await run();
  return (performance.now() - begin) / 1000;
}

const median = (numbers: number[]) => [...numbers].sort((a, b) => a - b)[Math.floor(numbers.length / 2)]!;

const candidates: Candidate[] = [];
for (const engine of engines) {
  candidates.push(await candidate(engine, "bptc"), await candidate(engine, "bp2c"));
}
const measureRate = await matrixRate();
for (let round = 0; round <= rounds; round++) {
  for (const { operations, step, measured } of candidates) {
    const before = await measureRate();
    const seconds = await secondsOf(step);
    const rate = (before + (await measureRate())) / 2;
    if (round > 0) measured.push({ seconds, rate, share: operations / seconds / rate });
  }
}
const memory = (process.resourceUsage().maxRSS / 2 ** 20).toFixed(1);
console.log(`${tokens} tokens a step, ${availableParallelism()} threads, median of ${rounds}; ${memory} GiB at most`);
for (const { name, measured } of candidates) {
  const [seconds, rate, share] = (["seconds", "rate", "share"] as const).map((key) =>
    median(measured.map((m) => m[key])),
  );
  console.log(
    `${name}: ${seconds!.toFixed(2)} s a step, ${(tokens / seconds!).toFixed(0)} tokens/s, ` +
      `${(100 * share!).toFixed(0)}% of the ${(rate! / 1e9).toFixed(0)} GFLOP/s of one large product`,
  );
}
