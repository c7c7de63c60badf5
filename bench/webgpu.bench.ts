/**
 * Inference on WebGPU beside the CPU, in one run, and how far the two differ:
 * `npx tsx bench/webgpu.bench.ts [seconds] [out.json] [model...]`. A model is a folder, `bundled` or `mamba2-130m` (random
 * weights, made on the first run). Lines of a Markdown table are printed as they come, and the JSON is written after
 * each, so that a run cut short leaves what it had. What the seconds (150 by default) do not suffice for is left out.
 *
 * For a machine without npm, the script becomes one file of the built package, beside the threads that it starts:
 * `npx esbuild bench/webgpu.bench.ts --bundle --platform=node --format=esm --external:onnxruntime-node
 * --banner:js="import{createRequire}from'module';const require=createRequire(import.meta.url);"
 * --outfile=dist/model/decode/webgpu.bench.mjs`
 * It needs Node, dist, package.json and the package onnxruntime-node (its own files, bin/napi-v6/linux/x64, and
 * onnxruntime-common) there. Name the bundled model by its folder, not as `bundled`.
 */
import { execFileSync } from "node:child_process";
import { access, writeFile } from "node:fs/promises";
import { availableParallelism, cpus } from "node:os";
import { join, resolve } from "node:path";
import { composeOnDevice } from "../src/answer/compose-on-device.js";
import { compose } from "../src/compose/compose.js";
import { Random } from "../src/evaluate/random.js";
import { bundledModel } from "../src/model/bundled.js";
import { LanguageModel } from "../src/model/language-model.js";
import type { StartState } from "../src/model/state-batch.js";
import { makeModel } from "./make-model.js";
import { webGpuProductRates } from "./webgpu-products.js";

const [seconds = "150", outFile = "webgpu.json", ...models] = process.argv.slice(2);
const deadline = performance.now() + 1000 * Number(seconds);
const rounds = 5;
const contexts = 10;
const contextTokens = 256;
const promptTokens = 64;

interface Row {
  model: string;
  what: string;
  unit: string;
  webgpu: number | null;
  cpu: number | null;
}

const report = {
  processor: `${cpus()[0]?.model}, ${availableParallelism()} cores`,
  graphics: graphics(),
  node: process.version,
  products: [] as Awaited<ReturnType<typeof webGpuProductRates>>,
  rows: [] as Row[],
};
console.log(`${report.processor}; ${report.graphics}; Node ${report.node}\n`);

console.log("| matrix products on the device, in a chain | operator | GFLOP/s |\n| --- | --- | --- |");
const productDeadline = performance.now() + 100 * Number(seconds);
report.products = await webGpuProductRates(productDeadline, ({ rows, width, operator, rate }) =>
  console.log(`| ${rows} x ${width} by ${width} x ${width} | ${operator} | ${rate.toPrecision(3)} |`),
);
await save();
for (const name of models.length > 0 ? models : ["mamba2-130m", "bundled"]) {
  await measure(name).catch((error) => {
    console.error(`${name}: ${error instanceof Error ? error.stack : error}`);
    process.exitCode = 1;
  });
}
// Sessions on the device are released by the end of the process.
process.exit();

async function measure(name: string): Promise<void> {
  const folder = await folderOf(name);
  const gpu = await LanguageModel.load(folder, { device: "webgpu" });
  const cpu = await LanguageModel.load(folder);
  const random = Random.of(1);
  const draw = (count: number) => Array.from({ length: count }, () => random.below(gpu.config.vocabSize));
  console.log(`\n| ${name} | unit | WebGPU | CPU | ratio |\n| --- | --- | --- | --- | --- |`);

  const add = async (what: string, unit: string, ofGpu: number | null, ofCpu: number | null) => {
    const isRate = unit.endsWith("/s");
    const ratio = ofGpu !== null && ofCpu !== null ? (isRate ? ofGpu / ofCpu : ofCpu / ofGpu).toPrecision(3) : "";
    const show = (value: number | null) => (value === null ? "" : value.toPrecision(3));
    console.log(`| ${what} | ${unit} | ${show(ofGpu)} | ${show(ofCpu)} | ${ratio} |`);
    report.rows.push({ model: name, what, unit, webgpu: ofGpu, cpu: ofCpu });
    await save();
  };
  /** Medians of both, in turns; `toValue` makes a figure of milliseconds. Left out where the time does not suffice. */
  const race = async (
    what: string,
    unit: string,
    toValue: (ms: number) => number,
    work: (model: LanguageModel) => Promise<unknown>,
  ) => {
    const times: [number[], number[]] = [[], []];
    for (let round = -1; round < rounds && performance.now() < deadline; round++) {
      const start = performance.now();
      for (const [side, model] of [gpu, cpu].entries()) {
        const time = await timed(() => work(model));
        // The first compiles shaders.
        if (round >= 0) times[side]!.push(time);
      }
      if (performance.now() + (performance.now() - start) > deadline) break;
    }
    if (times[1].length > 0) await add(what, unit, toValue(median(times[0])), toValue(median(times[1])));
    else console.log(`| ${what} | ${unit} | not measured | | |`);
  };
  const differ = async (what: string, found: Float32Array, reference: Float32Array) => {
    const { largest, relative } = difference(found, reference);
    await add(`difference from the CPU, ${what}`, "absolute", largest, null);
    await add(`difference from the CPU, ${what}`, "of the largest value", relative, null);
  };

  const ids = draw(contextTokens);
  const [a, b] = await Promise.all([gpu.forward(ids, { logits: "all" }), cpu.forward(ids, { logits: "all" })]);
  await differ(`logits of ${contextTokens} tokens`, a.logits, b.logits);
  await differ("recurrent state", a.state.ssm, b.state.ssm);
  await differ("convolution state", a.state.conv, b.state.conv);

  const states = await cpu.encodeMany(Array.from({ length: contexts }, () => draw(contextTokens)));
  const prompt = draw(promptTokens);
  const fromDevice = await composeOnDevice(gpu, states, "picaso-r");
  const composed = compose(states, "picaso-r");
  await differ(
    `logits from ${contexts} composed states`,
    await next(gpu, fromDevice, prompt),
    await next(cpu, composed, prompt),
  );
  fromDevice.values.dispose();

  const ms = (time: number) => time;
  const perSecond = (tokens: number) => (time: number) => (1000 * tokens) / time;
  const zero = gpu.zeroState();
  const stepsTimed = 16;
  await race(
    "a token decoded",
    "ms",
    (time) => time / stepsTimed,
    async (model) => {
      const advance = model.continueFrom([composed]);
      for (let i = 0; i < stepsTimed; i++) await advance([{ tokens: [prompt[i]!], rows: [0] }]);
      advance.dispose();
    },
  );
  for (const tokens of [64, 512, 1024]) {
    await race(`prefill of ${tokens} tokens`, "tokens/s", perSecond(tokens), (model) =>
      next(model, zero, draw(tokens)),
    );
  }
  await race(`composing ${contexts} states`, "ms", ms, async (model) => {
    if (model.device === "cpu") return compose(states, "picaso-r");
    return (await composeOnDevice(gpu, states, "picaso-r")).values.dispose();
  });
  await race(`first token, ${contexts} composed`, "ms", ms, async (model) => {
    if (model.device === "cpu") return next(cpu, compose(states, "picaso-r"), prompt);
    const state = await composeOnDevice(gpu, states, "picaso-r");
    await next(gpu, state, prompt);
    return state.values.dispose();
  });
  await race(`first token, ${contexts} composed on the CPU`, "ms", ms, (model) =>
    next(model, compose(states, "picaso-r"), prompt),
  );
  await race(`first token, ${contexts} concatenated (${contexts * contextTokens} tokens)`, "ms", ms, (model) =>
    next(model, zero, draw(contexts * contextTokens + promptTokens)),
  );
  const batch = Array.from({ length: 8 }, () => draw(512));
  await race("prefill of 8 x 512 tokens, one batch", "tokens/s", perSecond(8 * 512), async (model) => {
    const advance = model.continueFrom(batch.map(() => zero));
    await advance(batch.map((tokens) => ({ tokens, rows: [511] })));
    advance.dispose();
  });
  await race("prefill of 4096 tokens", "tokens/s", perSecond(4096), (model) => next(model, zero, draw(4096)));
  const passages = Array.from({ length: 32 }, () => draw(contextTokens));
  await race(
    `encoding 32 passages of ${contextTokens} tokens, states read back`,
    "tokens/s",
    perSecond(8192),
    (model) => model.encodeMany(passages),
  );
  await gpu.dispose();
  await cpu.dispose();
}

/** Logits after `tokens`. */
async function next(model: LanguageModel, state: StartState, tokens: readonly number[]): Promise<Float32Array> {
  const advance = model.continueFrom([state]);
  const [predictions] = await advance([{ tokens, rows: [tokens.length - 1] }]);
  advance.dispose();
  return predictions!.logits;
}

async function folderOf(name: string): Promise<string> {
  if (name === "bundled") return bundledModel;
  if (name !== "mamba2-130m") return name;
  const folder = resolve("bench/out/mamba2-130m");
  const isThere = await access(join(folder, "model.safetensors")).then(
    () => true,
    () => false,
  );
  if (!isThere) await makeModel("mamba2-130m", folder);
  return folder;
}

function difference(found: Float32Array, reference: Float32Array): { largest: number; relative: number } {
  if (found.length !== reference.length) throw new Error(`${found.length} values against ${reference.length}`);
  let largest = 0;
  let size = 0;
  for (let i = 0; i < found.length; i++) {
    const distance = Math.abs(found[i]! - reference[i]!);
    if (!(distance <= largest)) largest = distance;
    size = Math.max(size, Math.abs(reference[i]!));
  }
  return { largest, relative: largest / size };
}

/** The name of the card where its vendor's tool tells it. */
function graphics(): string {
  try {
    return execFileSync("nvidia-smi", ["--query-gpu=name,driver_version", "--format=csv,noheader"], {
      encoding: "utf8",
    }).trim();
  } catch {
    return process.env.VK_ICD_FILENAMES ?? "graphics processor of unknown name";
  }
}

async function timed(work: () => Promise<unknown>): Promise<number> {
  const start = performance.now();
  await work();
  return performance.now() - start;
}

function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[values.length >> 1]!;
}

async function save(): Promise<void> {
  await writeFile(outFile, `${JSON.stringify(report, null, 1)}\n`);
}
