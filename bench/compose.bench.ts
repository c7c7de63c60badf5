/**
 * How fast states compose, against the rate at which one thread of this machine reads memory. Run by
 * `npx tsx bench/compose.bench.ts [rounds]`. Everything is timed in turns within each round, so that a busy machine
 * disturbs all alike; medians and the fastest round are printed.
 */
import { compose } from "../src/compose/compose.js";
import { WeightedSum } from "../src/compose/kernel/weighted-sum.js";
import { compositionMethods, compositionWeights } from "../src/compose/weights.js";
import { ContextState, type StateShape, stateSizes } from "../src/state/context-state.js";
import { makeMemoryReader } from "./machine.js";

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
}
const tasks: Task[] = [];
const add = (name: string, run: () => unknown, options: Pick<Task, "bytes" | "every"> = {}) =>
  tasks.push({ name, run, ...options, times: [] });

const readMegabytes = 256;
add("read memory", await makeMemoryReader(readMegabytes), { bytes: readMegabytes * 2 ** 20 });

const states = Array.from({ length: contexts }, (_, k) => makeState(k));
const stateBytes = states.reduce((sum, { ssm, conv, logDecay }) => {
  return sum + ssm.byteLength + conv.byteLength + logDecay.byteLength;
}, 0);
for (const method of compositionMethods) {
  add(`compose ${contexts} states, ${method}`, () => compose(states, method), { bytes: stateBytes });
}

const kernel = new WeightedSum();
const out = new Float32Array(states[0]!.ssm.length).fill(0);
const job = {
  weights: new Float32Array(shape.layers * shape.heads * contexts).fill(1 / contexts),
  blockLength: shape.stateSize * shape.headDim,
  out,
};
const floats = states.map((state) => state.ssm);
const halves = floats.map((array) => Uint16Array.from(new Uint32Array(array.buffer), (bits) => bits >>> 16));
const run = (inputs: Float32Array[] | Uint16Array[]) => () => kernel.run({ ...job, inputs });
add("  weighted sum into an old array, f32", run(floats), { bytes: contexts * out.byteLength });
add("  weighted sum into an old array, bf16", run(halves), { bytes: (contexts * out.byteLength) / 2 });

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
    const start = performance.now();
    task.run();
    const time = performance.now() - start;
    if (round >= 0) task.times.push(time);
  }
}

const median = (times: number[]) => [...times].sort((a, b) => a - b)[times.length >> 1]!;
const readRate = tasks[0]!.bytes! / median(tasks[0]!.times);
const { layers, heads, stateSize, headDim } = shape;
const megabytes = (stateBytes / contexts / 1e6).toFixed(1);
console.log(`states [${layers}, ${heads}, ${stateSize}, ${headDim}], ${megabytes} MB each; ${rounds} rounds`);
console.log(`${"".padEnd(50)}${"median".padStart(11)}${"fastest".padStart(11)}   at the median`);
for (const { name, times, bytes } of tasks) {
  const ms = [median(times), Math.min(...times)].map((time) => `${time.toFixed(2)} ms`.padStart(11)).join("");
  const rate = bytes === undefined ? 0 : bytes / median(times);
  const share = `reads ${(rate / 1e6).toFixed(1)} GB/s, ${((100 * rate) / readRate).toFixed(0)} % of the read rate`;
  console.log(`${name.padEnd(50)}${ms}${bytes === undefined ? "" : `   ${share}`}`);
}
