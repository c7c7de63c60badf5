/**
 * How fast a training step of the bundled model is, against the rate of jax-js's own matrix product in the shape of the
 * model's largest one, measured in the same process. Run by
 * `npx tsx bench/train.bench.ts [wasm|webgpu] [rounds]`. The median round counts; the first, which compiles, does not.
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

const median = (times: number[]) => times.sort((a, b) => a - b)[Math.floor(times.length / 2)]!;

async function timed(run: () => Promise<unknown>): Promise<number> {
  await run();
  const times: number[] = [];
  for (let round = 0; round < rounds; round++) {
    const start = performance.now();
    await run();
    times.push((performance.now() - start) / 1000);
  }
  return median(times);
}

const start = await loadEngine(engine);
const limits = { groupTokens: engine === "webgpu" ? 12288 : 1536, groupContexts: 32 };
await (await start(config, { method: "picaso-r", mode: "bptc", wanted: new Set(), ...limits })).dispose();

/** Operations a second of a product [1536, width] x [width, projected]. */
async function matmulRate(): Promise<number> {
  const { np, blockUntilReady } = await import("../src/train/jax/jax.js");
  const rows = 1536;
  const filled = (r: number, c: number) => np.array(Float32Array.from({ length: r * c }, Math.random)).reshape([r, c]);
  const [a, b] = [filled(rows, config.hiddenSize), filled(projected, config.hiddenSize)];
  const seconds = await timed(async () => {
    const product = np.matmul(a.ref, b.ref.transpose());
    await blockUntilReady(product);
    product.dispose();
  });
  return (2 * rows * config.hiddenSize * projected) / seconds;
}

const rate = await matmulRate();
console.log(`${engine}: matrix products at ${(rate / 1e9).toFixed(1)} GFLOP/s; ${tokens} tokens a step`);

async function measure(name: string, mode: GradientMode, lora: boolean): Promise<void> {
  const parameters = lora ? new LowRankParameters(values, { rank: 16 }, 0) : new FullParameters(values);
  const optimizer = new AdamW(parameters.trained);
  const running = await start(config, { method: "picaso-r", mode, wanted: parameters.wanted, ...limits });
  let gradientSeconds: number[] = [];
  let step = 0;
  const seconds = await timed(async () => {
    const begin = performance.now();
    const { gradients } = await running.lossAndGradients(parameters.values(), examples);
    gradientSeconds.push((performance.now() - begin) / 1000);
    // A rate of zero: every round does the same.
    optimizer.step(parameters.gradients(gradients), ++step, 0);
  });
  gradientSeconds = gradientSeconds.slice(1);
  const operations = weightsPerToken * tokens * (mode === "bptc" ? 8 : 2 * contextShare + 8 * (1 - contextShare));
  const share = (100 * operations) / seconds / rate;
  console.log(
    `${name}: ${seconds.toFixed(2)} s a step (gradients ${median(gradientSeconds).toFixed(2)} s), ` +
      `${(tokens / seconds).toFixed(0)} tokens/s, ${share.toFixed(0)}% of the rate`,
  );
  await running.dispose();
}

await measure("bptc", "bptc", false);
await measure("bp2c", "bp2c", false);
await measure("bptc, low-rank 16", "bptc", true);
