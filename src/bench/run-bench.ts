/**
 * The paper's Figure 1 and its companion on this machine: time to the first token, and for 64 new tokens, after a
 * prompt with k contexts of c tokens. Stored states composed, from memory and from disk in each codec, against the
 * contexts' text in the prompt. At each point all curves are timed in turns, and the machine's own limits with them.
 */
import { randomBytes } from "node:crypto";
import { rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { writeWhole } from "../cache.js";
import { PicasoError, throwIfAborted } from "../errors.js";
import type { LanguageModel } from "../model/language-model.js";
import { type Codec, codecNames } from "../state/codec.js";
import type { Curve, Point, PreparedTask, Task } from "./curve.js";
import { type Findings, findingsOf } from "./findings.js";
import { MachineProbes, type MachineRates, readRate } from "./machine.js";
import { BenchStates, composeCurve, concatCurve } from "./our-curves.js";
import { plotAgainstContexts, plotAgainstTokens } from "./plots.js";
import { type Spread, spreadOf, spreadOrNull } from "./statistics.js";

const NEW_TOKENS = 64;

/** Passages read into states to time that. */
const INGESTED = 32;

export interface BenchOptions {
  /** Numbers of contexts k, at `contextTokens` nearest to 256. @default 0 to 10, 32 and 100 */
  contexts?: readonly number[];
  /** Tokens of a context c, at `contexts` nearest to 10. @default 64 to 2048, doubling */
  contextTokens?: readonly number[];
  /** Tokens of the prompt behind the contexts. @default 64 */
  promptTokens?: number;
  /** Times each point is measured. @default 3 */
  repeat?: number;
  /** Folder for bench.json and the plots. */
  out: string;
  threads: number;
  /** Further curves, of other engines. @default none */
  more?: readonly Curve[];
  onProgress?: (progress: { done: number; total: number }) => void;
  signal?: AbortSignal;
}

export interface Measured extends Point {
  curve: string;
  reads: Curve["reads"];
  /** Milliseconds until the contexts' state is there; null where none is made. */
  state: Spread | null;
  /** Milliseconds until the first token. */
  firstToken: Spread;
  /** Until the last of 64 new tokens; null where only the first was timed. */
  total: Spread | null;
  bytes: number | null;
  /** Least time on this machine: its multiplications at the matrix rate and its bytes at the memory's rate. */
  limitMs: number;
}

export interface BenchReport {
  model: { fingerprint: string; layers: number; hiddenSize: number };
  machine: MachineRates;
  settings: { contexts: number[]; contextTokens: number[]; repeat: number; promptTokens: number; newTokens: number };
  /** Reading passages of the fixed length into states and storing them as bf16. */
  ingest: {
    passages: number;
    contextTokens: number;
    seconds: number;
    passagesPerSecond: number;
    tokensPerSecond: number;
  };
  /** Of one state file. */
  bytesPerPassage: Record<Codec, number>;
  peakMemoryBytes: number;
  points: Measured[];
  findings: Findings;
}

export async function runBench(model: LanguageModel, options: BenchOptions): Promise<BenchReport> {
  const { out, threads, promptTokens = 64, repeat = 3, more = [], onProgress, signal } = options;
  const contexts = sorted(options.contexts ?? [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 32, 100]);
  const contextTokens = sorted(options.contextTokens ?? [64, 128, 256, 512, 1024, 2048]);
  const [fixedTokens, fixedContexts] = [nearest(contextTokens, 256), nearest(contexts, 10)];
  const points = pointsOf(contexts, contextTokens, fixedTokens, fixedContexts);

  const folder = join(out, "states");
  const states = new BenchStates(model, folder);
  const bytesPerPassage = Object.fromEntries(
    codecNames.map((codec) => [codec, model.zeroState().toBytes(codec).length]),
  ) as Record<Codec, number>;
  const probes = await MachineProbes.create(threads);
  const timed: Timed[] = [];
  try {
    const ingest = await timeIngest(model, out, fixedTokens);
    const curves = [
      concatCurve(model),
      ...codecNames.flatMap((codec) =>
        (["memory", "disk"] as const).map((from) =>
          composeCurve(model, states, bytesPerPassage[codec], { codec, from, method: "picaso-r" }),
        ),
      ),
      ...more,
    ];
    const total = points.length * repeat;
    for (const [index, point] of points.entries()) {
      if (point.contextTokens !== points[index - 1]?.contextTokens) states.forget();
      // Only at one k: the tokens after the first take equally long at all.
      const toTheEnd = point.contexts === fixedContexts;
      const onRound = (round: number) => onProgress?.({ done: index * repeat + round, total });
      timed.push(
        ...(await timePoint(model, curves, point, { promptTokens, repeat, toTheEnd, probes, onRound, signal })),
      );
    }
    const machine = probes.rates();
    const measured = timed.map((each) => ({ ...each, limitMs: limitOf(model, each, promptTokens, machine) }));
    const report: BenchReport = {
      model: { fingerprint: model.fingerprint, layers: model.config.layers, hiddenSize: model.config.hiddenSize },
      machine,
      settings: { contexts, contextTokens, repeat, promptTokens, newTokens: NEW_TOKENS },
      ingest,
      bytesPerPassage,
      peakMemoryBytes: process.resourceUsage().maxRSS * 1024,
      points: measured,
      findings: findingsOf(measured, { fixedTokens, fixedContexts, bytesPerPassage, machine }),
    };
    await writeWhole(join(out, "bench.json"), `${JSON.stringify(report, null, 1)}\n`);
    await writeWhole(join(out, "first-token-by-contexts.svg"), plotAgainstContexts(measured, fixedTokens));
    await writeWhole(join(out, "first-token-by-length.svg"), plotAgainstTokens(measured, fixedContexts, "firstToken"));
    await writeWhole(join(out, "64-tokens-by-length.svg"), plotAgainstTokens(measured, fixedContexts, "total"));
    return report;
  } finally {
    await probes.dispose();
    await rm(folder, { recursive: true, force: true });
  }
}

type Timed = Omit<Measured, "limitMs">;

/** All curves at one point, in turns; the first turn warms up and is not counted. */
async function timePoint(
  model: LanguageModel,
  curves: readonly Curve[],
  point: Point,
  {
    promptTokens,
    repeat,
    toTheEnd,
    probes,
    onRound,
    signal,
  }: {
    promptTokens: number;
    repeat: number;
    /** Whether to time all new tokens, where a curve is timed so. */
    toTheEnd: boolean;
    probes: MachineProbes;
    onRound: (round: number) => void;
    signal?: AbortSignal;
  },
): Promise<Timed[]> {
  const task = taskOf(model, point, promptTokens);
  const prepared: ({ curve: Curve } & PreparedTask)[] = [];
  for (const curve of curves) prepared.push({ curve, ...(await curve.prepare(task, point)) });
  const times = curves.map(() => ({ state: [] as number[], firstToken: [] as number[], total: [] as number[] }));
  for (const [i, { curve, run }] of prepared.entries()) if (curve.reads === "states" && i > 0) await run(1);
  for (let round = 0; round < repeat; round++) {
    onRound(round);
    await probes.measure();
    for (const [i, { curve, run }] of prepared.entries()) {
      throwIfAborted(signal, "bench");
      const { stateMs, firstTokenMs, totalMs } = await run(toTheEnd && isTimedToTheEnd(curve) ? NEW_TOKENS : 1);
      times[i]!.firstToken.push(firstTokenMs);
      if (stateMs !== null) times[i]!.state.push(stateMs);
      if (totalMs !== null) times[i]!.total.push(totalMs);
    }
  }
  for (const { close } of prepared) close?.();
  return curves.map((curve, i) => ({
    ...{ curve: curve.name, reads: curve.reads, ...point, bytes: curve.bytes(point) },
    state: spreadOrNull(times[i]!.state),
    firstToken: spreadOf(times[i]!.firstToken),
    total: spreadOrNull(times[i]!.total),
  }));
}

/** Tokens after the first take equally long after any state: one composed curve is enough. */
function isTimedToTheEnd({ name, reads }: Curve): boolean {
  return reads === "tokens" || name === "bf16, disk";
}

async function timeIngest(model: LanguageModel, out: string, tokens: number): Promise<BenchReport["ingest"]> {
  const { contexts } = taskOf(model, { contexts: INGESTED, contextTokens: tokens }, 0);
  const path = join(out, `ingest-${randomBytes(4).toString("hex")}.tmp`);
  await writeWhole(path, "");
  const start = performance.now();
  const states = await model.encodeMany(contexts);
  for (const state of states) await writeFile(path, state.toBytes("bf16"), { flush: true });
  const seconds = (performance.now() - start) / 1000;
  await rm(path);
  return {
    ...{ passages: INGESTED, contextTokens: tokens, seconds },
    passagesPerSecond: INGESTED / seconds,
    tokensPerSecond: (INGESTED * tokens) / seconds,
  };
}

/** Tokens that look like nothing, the same in every run: what they are does not change how long they take. */
function taskOf(model: LanguageModel, { contexts, contextTokens }: Point, promptTokens: number): Task {
  const { vocabSize } = model.config;
  let seed = 1;
  const tokens = (count: number) =>
    Array.from({ length: count }, () => {
      seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
      return seed % vocabSize;
    });
  return {
    contexts: Array.from({ length: contexts }, () => tokens(contextTokens)),
    prompt: tokens(promptTokens),
    newTokens: NEW_TOKENS,
  };
}

/** See `Measured.limitMs`; the logits are computed for one token. */
function limitOf(
  model: LanguageModel,
  { reads, contexts, contextTokens, bytes }: Timed,
  promptTokens: number,
  rates: MachineRates,
): number {
  const { layers, hiddenSize, innerSize, convDim, heads, vocabSize } = model.config;
  const perToken = 2 * layers * hiddenSize * (2 * innerSize + convDim + heads);
  const tokens = promptTokens + (reads === "tokens" ? contexts * contextTokens : 0);
  const seconds = (tokens * perToken + 2 * hiddenSize * vocabSize) / rates.gemm + (bytes ?? 0) / readRate(rates);
  return 1000 * seconds;
}

/** By length, then by number, so that contexts of one length are encoded once. */
function pointsOf(contexts: number[], contextTokens: number[], fixedTokens: number, fixedContexts: number): Point[] {
  return contextTokens.flatMap((tokens) =>
    (tokens === fixedTokens ? contexts : [fixedContexts]).map((count) => ({ contexts: count, contextTokens: tokens })),
  );
}

function sorted(values: readonly number[]): number[] {
  if (values.length > 0) return [...new Set(values)].sort((a, b) => a - b);
  const next = "Give at least one number.";
  throw new PicasoError("bad-argument", { where: "bench", expected: "numbers to sweep over", found: "none", next });
}

function nearest(values: readonly number[], wanted: number): number {
  return values.reduce((best, value) => (Math.abs(value - wanted) < Math.abs(best - wanted) ? value : best));
}
