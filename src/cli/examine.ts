/** The checks of `picaso doctor`: each does for real what the program will need. */
import { access, mkdir, rm, writeFile } from "node:fs/promises";
import { availableParallelism, freemem, totalmem } from "node:os";
import { join } from "node:path";
import { cacheFolder, temporaryName } from "../cache.js";
import { PicasoError } from "../errors.js";
import { bytes, duration } from "./format.js";
import { type GlobalOptions, loadModel, openStore } from "./globals.js";
import { Reporter } from "./reporter.js";

export interface Finding {
  check: string;
  ok: boolean;
  finding: string;
}

export async function examine(globals: GlobalOptions): Promise<Finding[]> {
  const findings: Finding[] = [];
  const check = async (name: string, look: () => Promise<string>): Promise<void> => {
    try {
      findings.push({ check: name, ok: true, finding: await look() });
    } catch (error) {
      findings.push({ check: name, ok: false, finding: error instanceof Error ? error.message : String(error) });
    }
  };
  await check("Node.js", nodeVersion);
  await check("machine", machine);
  await check("cache", cache);
  await check("inference engine", inferenceEngine);
  await check("WebGPU", () => webGpu(globals));
  await check("composition kernel", compositionKernel);
  await check("catalog engine", catalogEngine);
  await check("model", () => model(globals));
  await check("store", () => store(globals));
  return findings;
}

async function nodeVersion(): Promise<string> {
  const [major, minor] = process.versions.node.split(".").map(Number) as [number, number];
  if (major < 20 || (major === 20 && minor < 16))
    throw new Error(`20.16 or newer is needed, this is ${process.version}`);
  return process.version;
}

async function machine(): Promise<string> {
  return `${availableParallelism()} cores, ${bytes(freemem())} of ${bytes(totalmem())} memory free`;
}

async function cache(): Promise<string> {
  const folder = cacheFolder();
  try {
    await mkdir(folder, { recursive: true });
    const file = temporaryName(join(folder, "doctor"));
    await writeFile(file, "");
    await rm(file);
  } catch (error) {
    throw new Error(`cannot be written (${(error as Error).message}); set PICASO_CACHE to another folder`);
  }
  return `${folder} can be written`;
}

async function inferenceEngine(): Promise<string> {
  const { env } = await import("onnxruntime-node");
  return `ONNX Runtime ${env.versions.node ?? env.versions.common}`;
}

/** Its absence is no fault unless it is asked for. */
async function webGpu({ device }: GlobalOptions): Promise<string> {
  const { assertWebGpu } = await import("../model/webgpu/engine.js");
  try {
    await assertWebGpu();
  } catch (error) {
    if (device === "webgpu" || !PicasoError.isInstance(error)) throw error;
    return `not on this machine, --device cpu works: ${error.message}`;
  }
  return "computes here: --device webgpu can be used";
}

async function compositionKernel(): Promise<string> {
  const [{ compose }, { ContextState }] = await Promise.all([
    import("../compose/compose.js"),
    import("../state/context-state.js"),
  ]);
  const shape = { layers: 1, heads: 1, stateSize: 4, headDim: 4, convWidth: 1, convDim: 4 };
  const state = (value: number) =>
    new ContextState({
      ...{ fingerprint: "doctor", shape, tokens: 1 },
      ssm: new Float32Array(16).fill(value),
      conv: new Float32Array(4),
      logDecay: Float64Array.of(Math.log(0.5)),
    });
  // Two orders of x + x' / 2 with x = 1, x' = 3: the mean of 2.5 and 3.5.
  const [value] = compose([state(1), state(3)], "picaso-s").ssm;
  if (value !== 3) throw new Error(`composing 1 and 3 with decay 1/2 gave ${value}, not 3`);
  return "WebAssembly SIMD works";
}

async function catalogEngine(): Promise<string> {
  await import("@lancedb/lancedb");
  return "LanceDB loads";
}

async function model(globals: GlobalOptions): Promise<string> {
  const start = performance.now();
  const loaded = await loadModel(globals, new Reporter({ quiet: true }));
  const seconds = (performance.now() - start) / 1000;
  const { logits } = await loaded.forward([0]);
  await loaded.dispose();
  if (!logits.every(Number.isFinite)) throw new Error("its logits are not finite");
  return `${loaded.fingerprint} from ${loaded.directory}, loaded in ${duration(seconds)}`;
}

async function store(globals: GlobalOptions): Promise<string> {
  const exists = await access(globals.store).then(
    () => true,
    () => false,
  );
  if (!exists) return `none at ${globals.store} yet: run \`picaso index PATH...\``;
  const opened = await openStore(globals);
  const { documents, passages } = await opened.stats();
  await opened.close();
  return `${globals.store}: ${documents} documents, ${passages} passages`;
}
