/**
 * Our engine against llama.cpp on the same weights, the shape of mamba2-130m with random values, each on two threads:
 * `PEER=~/peer npx tsx bench/engine.bench.ts [rounds] [dtypes] [threads] [kinds]`, where node-llama-cpp 3.22 is installed
 * in ~/peer; kinds are prefill and decode. On one thread CPU time is measured instead of time, which tells something on
 * machines that are busy with other work.
 *
 * Both take turns within each round, so that a busy machine disturbs both; a ratio is the median over the rounds of
 * theirs over ours, and beside it stands that of the fastest rounds, which other work disturbs least. Both run through
 * their public interfaces and pick each next token greedily. What decoding has to read and write of weights and states
 * is compared with the rate at which as many threads read memory in the same run. The models are made on the first run, in
 * bench/out; so is engine.json with the figures.
 */
import { access, mkdir, stat, writeFile } from "node:fs/promises";
import { cpus } from "node:os";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { GemmProbe } from "../src/bench/gemm-rate.js";
import { MemoryReader } from "../src/bench/memory-rate.js";
import { compiledFolder } from "../src/model/compile.js";
import { LanguageModel } from "../src/model/language-model.js";
import type { WeightDtype } from "../src/model/quantize.js";
import { stateSizes } from "../src/state/context-state.js";
import { writeGguf } from "./gguf.js";
import { makeModel } from "./make-model.js";
import { LlamaPeer } from "./peer-llama.js";

const rounds = Number(process.argv[2] ?? 7);
const dtypes = (process.argv[3] ?? "f32,q8,q4").split(",") as WeightDtype[];
const threads = Number(process.argv[4] ?? 2);
const kinds = (process.argv[5] ?? "prefill,decode").split(",") as ("prefill" | "decode")[];
const prefillTokens = 1024;
const decodeTokens = 32;
/** Passes of this many tokens are the peer's fastest on the machines tried. */
const peerBatch = 512;

/** Required ratios of speed. */
const targets = { prefill: { f32: 2, q8: 1.3, q4: 1.2 }, decode: { f32: 1.2, q8: 1.2, q4: 1.2 } };

const out = fileURLToPath(new URL("out", import.meta.url));
const modelFolder = join(out, "mamba2-130m");
await mkdir(out, { recursive: true });
if (!(await exists(join(modelFolder, "model.safetensors")))) await makeModel("mamba2-130m", modelFolder);

const product = await GemmProbe.create(threads);
const reader = await MemoryReader.create(threads);
const machine = { gemm: [] as number[], read: [] as number[] };

const lines: object[] = [];
for (const dtype of dtypes) {
  // Embeddings of 8 bits in both engines: llama.cpp's own q4 files have more than 4 there too.
  const types = { matrices: dtype, embeddings: dtype === "q4" ? "q8" : dtype } as const;
  const gguf = join(modelFolder, `${types.matrices}-${types.embeddings}.gguf`);
  if (!(await exists(gguf))) await writeGguf(modelFolder, gguf, types);
  const ours = await LanguageModel.load(modelFolder, { dtype, threads });
  const peer = await LlamaPeer.open(gguf, threads, peerBatch);
  const tokens = Array.from({ length: prefillTokens }, (_, i) => (i * 7919 + 13) % ours.config.vocabSize);
  const prompt = tokens.slice(0, 16);
  if (dtype === "f32") await checkAgreement(ours, peer, tokens.slice(0, 100));

  let loading = Number.NaN;
  const oursDecode = async () => {
    const times: number[] = [];
    let last = 0;
    for await (const _ of ours.generate(prompt, { maxTokens: decodeTokens + 1 })) {
      const at = now();
      if (last > 0) times.push(at - last);
      last = at;
    }
    // The first token that is decoded waits for the weights, once.
    if (Number.isNaN(loading)) loading = times[0]! - median(times);
    return median(times);
  };
  const peerDecode = async () => {
    await peer.prefill(prompt.slice(0, -1));
    const times: number[] = [];
    let last = 0;
    await peer.decode(prompt.at(-1)!, decodeTokens + 1, () => {
      const at = now();
      if (last > 0) times.push(at - last);
      last = at;
    });
    return median(times);
  };
  const tasks = {
    prefill: [() => timed(() => ours.forward(tokens)), () => timed(() => peer.prefill(tokens))],
    decode: [oursDecode, peerDecode],
  } as const;
  const times = { prefill: [[], []] as [number[], number[]], decode: [[], []] as [number[], number[]] };
  for (let round = -1; round < rounds; round++) {
    for (const kind of kinds) {
      for (const side of [0, 1] as const) {
        // The threads of the side before must have stopped waiting for work.
        await pause(100);
        const time = await tasks[kind][side]();
        if (round >= 0) times[kind][side].push(time);
      }
    }
    await pause(100);
    machine.gemm.push(product.operations / (await timed(() => product.run())) / 1e6);
    machine.read.push(reader.bytes / (await timed(async () => reader.read("all threads"))) / 1e6);
  }
  for (const kind of kinds) {
    const [own, theirs] = times[kind];
    const ratio = median(own.map((time, i) => theirs[i]! / time));
    const fastest = Math.min(...theirs) / Math.min(...own);
    const target = targets[kind][dtype];
    const rate = (time: number) => (kind === "prefill" ? (1000 * prefillTokens) / time : time);
    lines.push({ kind, dtype, ratio, fastest, target, met: ratio >= target, ours: own, peer: theirs });
    const unit = kind === "prefill" ? "tokens/s" : "ms a token";
    console.log(
      `${kind.padEnd(8)} ${dtype}  ours ${show(own.map(rate))}  llama.cpp ${show(theirs.map(rate))} ${unit}  ` +
        `ratio ${ratio.toFixed(2)} (fastest rounds ${fastest.toFixed(2)}), wanted ${target}: ${ratio >= target ? "met" : "not met"}`,
    );
  }
  if (kinds.includes("decode")) await showMoved(ours, dtype, times.decode[0], loading);
  await peer.dispose();
  await ours.dispose();
}
await reader.dispose();
console.log(
  `products of f32 matrices ${show(machine.gemm)} GFLOP/s; reading on ${threads} threads ${show(machine.read)} GB/s`,
);
const report = {
  cpu: cpus()[0]?.model,
  node: process.version,
  threads,
  rounds,
  prefillTokens,
  machine,
  results: lines,
};
await writeFile(join(out, "engine.json"), `${JSON.stringify(report, null, 1)}\n`);

/** Both must compute the same thing: log probabilities of the next token within what f32 sums in another order do. */
async function checkAgreement(ours: LanguageModel, peer: LlamaPeer, tokens: number[]): Promise<void> {
  const { logits } = await ours.forward(tokens);
  const total = Math.log(logits.reduce((sum, logit) => sum + Math.exp(logit), 0));
  const theirs = await peer.probabilities(tokens, ours.config.vocabSize);
  const difference = logits.reduce(
    (most, logit, i) => Math.max(most, Math.abs(logit - total - Math.log(theirs[i]!))),
    0,
  );
  console.log(`largest difference of log probabilities from llama.cpp in f32: ${difference.toExponential(1)}`);
  if (!(difference < 1e-3)) throw new Error("the two engines do not compute the same model");
}

/** What a token's decoding has to read and write, against the rate of reading. */
async function showMoved(ours: LanguageModel, dtype: WeightDtype, times: number[], loading: number): Promise<void> {
  // Embeddings and output share one matrix, so that every weight is read; states are read and written.
  const { size } = await stat(join(compiledFolder(ours.fingerprint, dtype), "weights.bin"));
  const { ssm, conv } = stateSizes(ours.stateShape);
  const moved = (size + 2 * 4 * (ssm + conv)) / 1e6;
  const rate = moved / Math.min(...times);
  console.log(
    `         ${dtype}  a token moves ${moved.toFixed(0)} MB: ${rate.toFixed(1)} GB/s in our fastest round, ` +
      `${((100 * rate) / Math.max(...machine.read)).toFixed(0)}% of the rate of reading; ` +
      `weights loaded for decoding in ${loading.toFixed(0)} ms`,
  );
}

/** Milliseconds. */
function now(): number {
  if (threads > 1) return performance.now();
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
}

async function timed(task: () => Promise<unknown>): Promise<number> {
  const start = now();
  await task();
  return now() - start;
}

function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[values.length >> 1]!;
}

/** Median, and the range. */
function show(values: readonly number[]): string {
  const digits = median(values) < 100 ? 1 : 0;
  const [middle, low, high] = [median(values), Math.min(...values), Math.max(...values)].map((v) => v.toFixed(digits));
  return `${middle} (${low} to ${high})`;
}

function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}
