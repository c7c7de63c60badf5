/**
 * How fast a training step of the bundled model is, against the rate of jax-js's own matrix product in the shape of the
 * model's largest one. Run by `npx tsx bench/train.bench.ts [wasm|webgpu] [rounds]`. Everything is timed in turns within
 * each round, so that a busy machine disturbs all alike; medians are printed, without the first round, which compiles.
 *
 * A forward pass takes 2 operations per projection weight and token; a gradient step takes 8 where gradients flow (forward,
 * forward again from the layer's input, twice that backward) and 2 where they do not. Scan, convolution and head come on
 * top in time but do not count as work, so the share says what a step makes of the machine's matrix products.
 */
import { Random } from "../src/evaluate/random.js";
import { bundledModel } from "../src/model/bundled.js";
import { findModelFiles } from "../src/model/checkpoint/model-files.js";
import { loadEngine, type TrainingEngine } from "../src/train/engines.js";
import { countTokens, type TrainingExample } from "../src/train/example.js";
import type { GradientMode } from "../src/train/gradient-engine.js";
import { LowRankParameters } from "../src/train/lora.js";
import { AdamW } from "../src/train/optimizer.js";
import { FullParameters, readParameters } from "../src/train/parameters.js";

const engine = (process.argv[2] ?? "wasm") as TrainingEngine;
const rounds = Number(process.argv[3] ?? 3);
const [examplesPerStep, contexts, contextTokens, queryTokens, targetTokens] = [2, 4, 128, 64, 64];

const { config, ...files } = await findModelFiles(bundledModel);
const values = await readParameters({ config, ...files });
const projected = config.innerSize + config.convDim + config.heads;
const weightsPerToken = config.layers * config.hiddenSize * (projected + config.innerSize);

const random = Random.of(1);
const draw = (length: number) => Array.from({ length }, () => random.below(config.vocabSize));
const examples = Array.from({ length: examplesPerStep }, (): TrainingExample => {
  return {
    contexts: Array.from({ length: contexts }, () => draw(contextTokens)),
    query: draw(queryTokens),
    target: draw(targetTokens),
  };
});
const tokens = countTokens(examples);
const contextShare = (examplesPerStep * contexts * contextTokens) / tokens;

const median = (values: number[]) => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)]!;

const start = await loadEngine(engine);
const limits = { groupTokens: engine === "webgpu" ? 12288 : 1536, groupContexts: 32 };

/** A way to train, and what it took in each round. */
interface Candidate {
  name: string;
  /** Operations of a step's projections. */
  operations: number;
  step: () => Promise<void>;
  seconds: number[];
  /** Share of the rate of matrix products measured just before and after. */
  shares: number[];
}

async function candidate(name: string, mode: GradientMode, lora: boolean): Promise<Candidate> {
  const parameters = lora ? new LowRankParameters(values, { rank: 16 }, 0) : new FullParameters(values);
  const optimizer = new AdamW(parameters.trained);
  const running = await start(config, { method: "picaso-r", mode, wanted: parameters.wanted, ...limits });
  const perWeight = mode === "bptc" ? 8 : 2 * contextShare + 8 * (1 - contextShare);
  let count = 0;
  const step = async () => {
    const { gradients } = await running.lossAndGradients(parameters.values(), examples);
    // A rate of zero: every round does the same.
    optimizer.step(parameters.gradients(gradients), ++count, 0);
  };
  return { name, operations: weightsPerToken * tokens * perWeight, step, seconds: [], shares: [] };
}

/** Operations a second of a product [1536, width] x [width, projected]; the best of three. */
async function matmulRate(): Promise<number> {
  const { np, blockUntilReady } = await import("../src/train/jax/jax.js");
  const rows = 1536;
  const filled = (r: number, c: number) => np.array(Float32Array.from({ length: r * c }, Math.random)).reshape([r, c]);
  const [a, b] = [filled(rows, config.hiddenSize), filled(projected, config.hiddenSize)];
  const times: number[] = [];
  for (let i = 0; i < 3; i++) {
    times.push(
      await secondsOf(async () => {
        const product = np.matmul(a.ref, b.ref.transpose());
        await blockUntilReady(product);
        product.dispose();
      }),
    );
  }
  a.dispose();
  b.dispose();
  return (2 * rows * config.hiddenSize * projected) / Math.min(...times);
}

async function secondsOf(run: () => Promise<unknown>): Promise<number> {
  const begin = performance.now();
  await run();
  return (performance.now() - begin) / 1000;
}

const candidates = [
  await candidate("bptc", "bptc", false),
  await candidate("bp2c", "bp2c", false),
  await candidate("bptc, low-rank 16", "bptc", true),
];
const rates: number[] = [];
for (let round = 0; round <= rounds; round++) {
  let before = await matmulRate();
  for (const { operations, step, seconds, shares } of candidates) {
    const taken = await secondsOf(step);
    const after = await matmulRate();
    if (round > 0) {
      seconds.push(taken);
      shares.push(operations / taken / ((before + after) / 2));
      rates.push(after);
    }
    before = after;
  }
}
console.log(`${engine}: matrix products at ${(median(rates) / 1e9).toFixed(1)} GFLOP/s; ${tokens} tokens a step`);
for (const { name, seconds, shares } of candidates) {
  const pace = `${median(seconds).toFixed(2)} s a step, ${(tokens / median(seconds)).toFixed(0)} tokens/s`;
  console.log(`${name}: ${pace}, ${(100 * median(shares)).toFixed(0)}% of the rate`);
}
