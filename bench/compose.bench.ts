/**
 * How fast states compose, against the rate at which this machine reads memory on one thread and on all. Run by
 * `npx tsx bench/compose.bench.ts [rounds]`. Everything is timed in turns within each round, so that a busy machine
 * disturbs all alike; medians and the fastest round are printed. Processor time, of all threads together, says how much
 * work there is where other programs take the cores away; in passes it counts against reading on one thread.
 */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { availableParallelism, tmpdir } from "node:os";
import { join } from "node:path";
import { MemoryReader } from "../src/bench/memory-rate.js";
import { compose } from "../src/compose/compose.js";
import { composeStored } from "../src/compose/node/compose-stored.js";
import { StoredState } from "../src/compose/node/stored-state.js";
import { SumThreads } from "../src/compose/node/sum-threads.js";
import { compositionMethods, compositionWeights } from "../src/compose/weights.js";
import { codecNames } from "../src/state/codec.js";
import { ContextState, type StateShape, stateSizes } from "../src/state/context-state.js";

const rounds = Number(process.argv[2] ?? 21);

/** mamba2-130m */
const shape: StateShape = { layers: 24, heads: 24, stateSize: 128, headDim: 64, convWidth: 3, convDim: 1792 };
const contexts = 10;

function makeState(k: number): ContextState {
  const size = stateSizes(shape);
  return new ContextState({
    fingerprint: "bench",
    shape,
    tokens: 500,
    ssm: Float32Array.from({ length: size.ssm }, (_, i) => ((i * 7 + k) % 1000) / 500 - 1),
    conv: Float32Array.from({ length: size.conv }, (_, i) => ((i * 3 + k) % 100) / 50 - 1),
    logDecay: randomLogDecays(size.logDecay),
  });
}

/** Total decays as contexts have them: from hardly any to complete. */
function randomLogDecays(length: number): Float64Array {
  return Float64Array.from({ length }, () => -(10 ** (Math.random() * 5 - 2)));
}

interface Task {
  name: string;
  run(): unknown;
  /** Bytes read, to print a rate. */
  bytes?: number;
  /** Run only in each so many rounds. */
  every?: number;
  times: number[];
  processorTimes: number[];
}
const tasks: Task[] = [];
const add = (name: string, run: () => unknown, options: Pick<Task, "bytes" | "every"> = {}) =>
  tasks.push({ name, run, ...options, times: [], processorTimes: [] });

const cores = availableParallelism();
const reader = await MemoryReader.create(cores);
add("read memory, one thread", () => reader.read("one thread"), { bytes: reader.bytes });
add(`read memory, ${cores} threads`, () => reader.read("all threads"), { bytes: reader.bytes });

const states = Array.from({ length: contexts }, (_, k) => makeState(k));
const stateBytes = states.reduce((sum, { ssm, conv, logDecay }) => {
  return sum + ssm.byteLength + conv.byteLength + logDecay.byteLength;
}, 0);
for (const method of compositionMethods) {
  add(`compose ${contexts} states, ${method}`, () => compose(states, method), { bytes: stateBytes });
}

const folder = mkdtempSync(join(tmpdir(), "picaso-bench-"));
const oneThread = new SumThreads(1);
const allThreads = new SumThreads(cores);
for (const codec of codecNames) {
  const paths = states.map((state, k) => {
    const path = join(folder, `${codec}-${k}`);
    writeFileSync(path, state.toBytes(codec));
    return path;
  });
  const memory = paths.map((path) => StoredState.fromBytes(readFileSync(path), path));
  const bytes = memory.reduce((sum, { layout }) => sum + layout.dataEnd - layout.dataStart, 0);
  let reuse = composeStored(memory, "picaso-r");
  const fromFiles = (threads: SumThreads) => () => {
    const opened = paths.map((path) => StoredState.open(path));
    reuse = composeStored(opened, "picaso-r", { threads, reuse });
    for (const state of opened) state.close();
  };
  for (const [threads, count] of [
    [oneThread, 1],
    [allThreads, cores],
  ] as const) {
    const inMemory = () => {
      reuse = composeStored(memory, "picaso-r", { threads, reuse });
    };
    add(`  stored ${codec}, in memory, threads: ${count}`, inMemory, { bytes });
    const first = () => composeStored(memory, "picaso-r", { threads });
    add(`  stored ${codec}, in memory, into new memory, threads: ${count}`, first, { bytes });
    add(`  stored ${codec}, in files, threads: ${count}`, fromFiles(threads), { bytes });
  }
}

for (const [n, every] of [
  [10, 1],
  [1000, 7],
] as const) {
  const decays = Array.from({ length: n }, () => randomLogDecays(shape.layers * shape.heads));
  for (const method of compositionMethods) {
    add(`weights of ${n} contexts, ${method}`, () => compositionWeights(decays, method), { every });
  }
}
const weak = Array.from({ length: 1000 }, () => randomLogDecays(shape.layers * shape.heads).map((v) => v / 1e4));
add("weights of 1000 contexts, picaso-s, weak decays", () => compositionWeights(weak, "picaso-s"), { every: 7 });

for (let round = -3; round < rounds; round++) {
  for (const task of tasks) {
    if (task.every !== undefined && round % task.every !== 0) continue;
    const [start, processor] = [performance.now(), process.cpuUsage()];
    task.run();
    const time = performance.now() - start;
    const { user, system } = process.cpuUsage(processor);
    if (round < 0) continue;
    task.times.push(time);
    task.processorTimes.push((user + system) / 1000);
  }
}

const median = (times: number[]) => [...times].sort((a, b) => a - b)[times.length >> 1]!;
/** Bytes per millisecond: the faster of one thread and all, since on a busy machine more threads may read no faster. */
const rateOf = (measure: (times: number[]) => number) =>
  Math.max(...tasks.slice(0, 2).map(({ bytes, times }) => bytes! / measure(times)));
const fastest = (times: number[]) => Math.min(...times);
const { layers, heads, stateSize, headDim } = shape;
const megabytes = (stateBytes / contexts / 1e6).toFixed(1);
console.log(`states [${layers}, ${heads}, ${stateSize}, ${headDim}], ${megabytes} MB each in f32; ${rounds} rounds`);
const [medianRate, topRate] = [rateOf(median), rateOf(fastest)];
console.log(
  `one pass: reading the same bytes at ${(medianRate / 1e6).toFixed(1)} GB/s, the median rate; medians are compared ` +
    `with that, the fastest rounds with the fastest rate, ${(topRate / 1e6).toFixed(1)} GB/s`,
);
const processorRate = tasks[0]!.bytes! / median(tasks[0]!.processorTimes);
const heading = ["median", "fastest", "processor"].map((title) => title.padStart(11)).join("");
console.log(`${"".padEnd(54)}${heading}   the same in passes`);
for (const { name, times, processorTimes, bytes } of tasks) {
  const figures = [median(times), fastest(times), median(processorTimes)] as const;
  const ms = figures.map((time) => `${time.toFixed(2)} ms`.padStart(11)).join("");
  const read = [figures[0] * medianRate, figures[1] * topRate, figures[2] * processorRate];
  const passes = read.map((amount) => (amount / (bytes ?? 1)).toFixed(2)).join(", ");
  console.log(`${name.padEnd(54)}${ms}${bytes === undefined ? "" : `   ${passes}`}`);
}
await allThreads.dispose();
await reader.dispose();
rmSync(folder, { recursive: true });
