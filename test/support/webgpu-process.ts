/**
 * What a model computes on "webgpu" against the CPU and golden data, in a process of its own, since the engine reads
 * the environment once: `node --import tsx webgpu-process.ts FOLDER GOLDEN`. Prints {@link WebGpuReport}.
 */
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { ask } from "../../src/answer/ask.js";
import { composeOnDevice } from "../../src/answer/compose-on-device.js";
import { indexDocuments } from "../../src/answer/index-documents.js";
import { compose } from "../../src/compose/compose.js";
import { type CompositionMethod, compositionMethods } from "../../src/compose/weights.js";
import { PicasoError } from "../../src/errors.js";
import { LanguageModel } from "../../src/model/language-model.js";
import type { StartState } from "../../src/model/state-batch.js";
import type { ContextState } from "../../src/state/context-state.js";
import { StateStore } from "../../src/store/store.js";
import { Golden, type GoldenName, goldenVocabulary, relativeError } from "./golden.js";
import { randomTokens } from "./random-tokens.js";

export interface WebGpuReport {
  /** What is missing for the device; the rest is then empty. */
  missing: string | null;
  /** Largest differences by kind, relative to the largest value. */
  errors: Record<string, number>;
  fingerprints: string[];
  /** Greedy texts on the CPU and on the device. */
  texts: string[];
  /** What `ask` says on both, from passages that the first indexed. */
  answers: string[];
  /** Of each method, whether orders that it does not care about give the same bits. */
  sameBits: Partial<Record<CompositionMethod, boolean>>;
}

const icd = "/usr/lib/chromium/vk_swiftshader_icd.json";

/** The environment with Debian's Chromium's software device where there is one, else as it is. */
export function webGpuEnvironment(): NodeJS.ProcessEnv {
  if (!existsSync(icd)) return process.env;
  const loader = [process.env.LD_LIBRARY_PATH, "/usr/lib/chromium"].filter(Boolean).join(":");
  return { ...process.env, VK_ICD_FILENAMES: icd, XDG_RUNTIME_DIR: "/tmp", LD_LIBRARY_PATH: loader };
}

/** Runs the program. */
export async function compareInProcess(
  folder: string,
  golden: GoldenName,
  environment = webGpuEnvironment(),
): Promise<WebGpuReport> {
  const program = fileURLToPath(import.meta.url);
  const child = spawn(process.execPath, ["--import", "tsx", program, folder, golden], {
    env: environment,
    stdio: ["ignore", "pipe", "inherit"],
  });
  let output = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    output += text;
  });
  const code = await new Promise((resolve, reject) => {
    child.on("error", reject);
    child.on("close", (exit, signal) => resolve(exit ?? signal));
  });
  if (code !== 0) throw new Error(`the process ended with ${code}: ${output}`);
  return JSON.parse(output) as WebGpuReport;
}

async function compareDevices(folder: string, name: GoldenName): Promise<WebGpuReport> {
  const report: WebGpuReport = { missing: null, errors: {}, fingerprints: [], texts: [], answers: [], sameBits: {} };
  let gpu: LanguageModel;
  try {
    gpu = await LanguageModel.load(folder, { device: "webgpu" });
  } catch (error) {
    if (!PicasoError.isInstance(error) || error.code !== "unsupported") throw error;
    return { ...report, missing: error.message };
  }
  const cpu = await LanguageModel.load(folder, { threads: 1 });
  const both = [cpu, gpu] as const;
  report.fingerprints = both.map(({ fingerprint }) => fingerprint);
  const compare = (kind: string, found: ArrayLike<number>, reference: ArrayLike<number>) => {
    const error = relativeError(found, reference);
    // JSON has no NaN.
    report.errors[kind] = Math.max(report.errors[kind] ?? 0, Number.isNaN(error) ? Number.MAX_VALUE : error);
  };
  const compareStates = (kind: string, found: ContextState, reference: ContextState) => {
    for (const part of ["ssm", "conv", "logDecay"] as const) compare(`${kind} ${part}`, found[part], reference[part]);
  };
  const tokens = (count: number, seed: number) => randomTokens(count, goldenVocabulary[name], seed);

  // 600 tokens take two runs, between which the state stays on the device.
  for (const count of [1, 2, 37, 600]) {
    const ids = tokens(count, count);
    const [a, b] = await Promise.all(both.map((model) => model.forward(ids, { logits: "all" })));
    compare("logits", b!.logits, a!.logits);
    compareStates("state", b!.state, a!.state);
    const [onCpu, onGpu] = await Promise.all(both.map((model) => model.forward(tokens(5, 9), { state: a!.state })));
    compare("logits from a state", onGpu!.logits, onCpu!.logits);
  }
  const contexts = [1, 2, 9, 30].map((count, i) => tokens(count, 20 + i));
  const [states, gpuStates] = await Promise.all(both.map((model) => model.encodeMany(contexts)));
  for (const [i, state] of gpuStates!.entries()) compareStates("batch", state, states![i]!);
  const requests = contexts.slice(1).map((ids, i) => ({ tokens: ids, state: states![i]! }));
  const [losses, gpuLosses] = await Promise.all(both.map((model) => model.score(requests)));
  for (const [i, loss] of gpuLosses!.entries()) compare("losses", loss, losses![i]!);

  const pieces = [tokens(7, 40), ...tokens(4, 41).map((token) => [token])];
  const continuations = await Promise.all(
    both.map(async (model) => {
      const advance = model.continueFrom(states!);
      const logits: Float32Array[] = [];
      for (const piece of pieces) {
        const steps = states!.map(() => ({ tokens: piece, rows: [piece.length - 1] }));
        for (const prediction of await advance(steps)) logits.push(prediction.logits);
      }
      advance.dispose();
      return logits;
    }),
  );
  for (const [i, logits] of continuations[1]!.entries()) compare("decoding", logits, continuations[0]![i]!);

  const query = tokens(6, 50);
  const logitsFrom = async (model: LanguageModel, state: StartState) => {
    const advance = model.continueFrom([state]);
    await advance([{ tokens: query }]);
    const [predictions] = await advance([{ tokens: [3], rows: [0] }]);
    advance.dispose();
    return predictions!.logits;
  };
  const golden = await Golden.read(name);
  for (const method of compositionMethods) {
    for (let n = 1; n <= states!.length; n++) {
      const device = await composeOnDevice(gpu, states!.slice(0, n), method);
      const composed = compose(states!.slice(0, n), method);
      compare("composed", await logitsFrom(gpu, device), await logitsFrom(cpu, composed));
      // A second time: what the first left of it must be whole.
      compare("composed", await logitsFrom(gpu, device), await logitsFrom(cpu, composed));
      device.values.dispose();
    }
    const orders = method === "picaso-r" ? [2, 3, 0, 1] : [3, 1, 0, 2];
    const results = await Promise.all(
      [[0, 1, 2, 3], orders].map(async (order) => {
        const state = await composeOnDevice(
          gpu,
          order.map((i) => states![i]!),
          method,
        );
        return logitsFrom(gpu, state).finally(() => state.values.dispose());
      }),
    );
    report.sameBits[method] = results[0]!.every((logit, i) => logit === results[1]![i]);
    if (folder.endsWith(name)) {
      const { logits } = await gpu.forward(golden.values("query.ids"), {
        state: golden.state(`${method}.4`, gpu),
        logits: "all",
      });
      compare("golden", logits, golden.values(`${method}.4.logits`));
    }
  }
  for (const model of both) {
    let text = "";
    for await (const piece of model.generate(query, { state: states![3]!, maxTokens: 12 })) text += piece.text;
    report.texts.push(text);
  }
  report.answers = await askBoth(both, join(folder, "store"));
  for (const model of both) await model.dispose();
  return report;
}

/** Answers of both models from one store, which the first fills. */
async function askBoth(models: readonly LanguageModel[], path: string): Promise<string[]> {
  const document = `${path}.txt`;
  await writeFile(document, "The bridge was built of stone.\n\nA bridge of wood came before it.\n");
  const answers: string[] = [];
  for (const model of models) {
    const store = await StateStore.open(path, { model });
    await indexDocuments(store, [document], { passageTokens: 24 });
    const { answer, contexts } = await ask(store, "Which bridge?", { k: 2, method: "picaso-s", maxTokens: 6 });
    answers.push(JSON.stringify([answer, contexts.map(({ id, weight }) => [id, weight])]));
    await store.close();
  }
  return answers;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [folder, golden] = process.argv.slice(2) as [string, GoldenName];
  console.log(JSON.stringify(await compareDevices(folder, golden)));
}
