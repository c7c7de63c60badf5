/**
 * `picaso bench` on the shape of mamba2-130m with random weights, with llama.cpp's concatenation beside ours where
 * node-llama-cpp is installed in the folder PEER:
 * `[PEER=~/peer] npx tsx bench/first-token.bench.ts OUT [prompt tokens] [contexts] [context tokens] [repeat]`, lists
 * separated by commas. The model and its GGUF file are made on the first run, in bench/out.
 */
import { access, mkdir } from "node:fs/promises";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Curve } from "../src/bench/curve.js";
import { runBench } from "../src/bench/run-bench.js";
import { LanguageModel } from "../src/model/language-model.js";
import { writeGguf } from "./gguf.js";
import { makeModel } from "./make-model.js";
import { LlamaPeer } from "./peer-llama.js";

const numbers = (list: string) => list.split(",").map(Number);
const [out = "bench-results", prompt = "64", ks = "0,1,5,10", cs = "256", repeat = "3"] = process.argv.slice(2);
const [promptTokens, contexts, contextTokens] = [Number(prompt), numbers(ks), numbers(cs)];
const threads = availableParallelism();

const folder = fileURLToPath(new URL("out", import.meta.url));
const modelFolder = join(folder, "mamba2-130m");
await mkdir(folder, { recursive: true });
if (!(await exists(join(modelFolder, "model.safetensors")))) await makeModel("mamba2-130m", modelFolder);

const peer = process.env.PEER ? await openPeer() : null;
const model = await LanguageModel.load(modelFolder, { threads });
const report = await runBench(model, {
  ...{ out, threads, promptTokens, contexts, contextTokens, repeat: Number(repeat) },
  more: peer ? [llamaCurve(peer)] : [],
  onProgress: ({ done, total }) => console.error(`${done} of ${total}`),
});
await model.dispose();
await peer?.dispose();

const { machine, findings, points } = report;
console.log(machine);
for (const { curve, contexts: k, contextTokens: c, state, firstToken, limitMs } of points) {
  const made = state === null ? "" : `, state ${state.median.toFixed(1)} ms`;
  const spread = `${firstToken.fastest.toFixed(1)} to ${firstToken.slowest.toFixed(1)}`;
  const ofLimit = (firstToken.median / limitMs).toFixed(1);
  console.log(`${curve}, k = ${k}, c = ${c}: ${firstToken.median.toFixed(1)} ms (${spread}), ${ofLimit} limits${made}`);
}
console.log(findings.at);
console.table(findings.curves);

/** The contexts' tokens before the prompt in llama.cpp, read every time, the same weights in f32. */
function llamaCurve(llama: LlamaPeer): Curve {
  return {
    name: "llama.cpp",
    reads: "tokens",
    bytes: () => null,
    prepare: async ({ contexts, prompt }) => ({
      run: async (newTokens) => {
        const tokens = [...contexts.flat(), ...prompt];
        const start = performance.now();
        await llama.prefill(tokens.slice(0, -1));
        let firstTokenMs = 0;
        await llama.decode(tokens.at(-1)!, newTokens, () => {
          firstTokenMs ||= performance.now() - start;
        });
        return { stateMs: null, firstTokenMs, totalMs: newTokens > 1 ? performance.now() - start : null };
      },
    }),
  };
}

async function openPeer(): Promise<LlamaPeer> {
  const gguf = join(modelFolder, "f32-f32.gguf");
  if (!(await exists(gguf))) await writeGguf(modelFolder, gguf, { matrices: "f32", embeddings: "f32" });
  const longest = Math.max(...contexts) * Math.max(...contextTokens) + promptTokens + 64;
  return LlamaPeer.open(gguf, threads, 512, longest);
}

async function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}
