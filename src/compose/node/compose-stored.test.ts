import { mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it, vi } from "vitest";
import { type Codec, codecNames } from "../../state/codec.js";
import { ContextState, type StateShape, stateSizes } from "../../state/context-state.js";
import { readSafetensors, writeSafetensors } from "../../state/safetensors.js";
import { sealHeader } from "../../state/state-header.js";
import { compose } from "../compose.js";
import { compositionMethods } from "../weights.js";
import { composeStored } from "./compose-stored.js";
import { sharedMemory } from "./shared-memory.js";
import { StoredState } from "./stored-state.js";
import { SumThreads } from "./sum-threads.js";

const folder = mkdtempSync(join(tmpdir(), "picaso-compose-"));
const one = new SumThreads(1);
/** More threads than cores, used for the smallest sums. */
const three = new SumThreads(3, 0);

afterAll(async () => {
  rmSync(folder, { recursive: true });
  await three.dispose();
});

const shape: StateShape = { layers: 3, heads: 5, stateSize: 8, headDim: 6, convWidth: 3, convDim: 11 };
/** Blocks of 63 values: no whole words in bf16 and int8. */
const oddShape: StateShape = { ...shape, stateSize: 9, headDim: 7 };

function makeState(seed: number, of = shape): ContextState {
  const size = stateSizes(of);
  const wave = (i: number) => Math.sin(i * 12.9898 + seed * 78.233);
  return new ContextState({
    fingerprint: "model-a",
    shape: of,
    tokens: 10 + seed,
    ssm: Float32Array.from({ length: size.ssm }, (_, i) => wave(i) * 10 ** ((i + seed) % 5)),
    conv: Float32Array.from({ length: size.conv }, (_, i) => wave(i + 0.5)),
    logDecay: Float64Array.from({ length: size.logDecay }, (_, i) => -Math.abs(wave(i + 0.25)) * 10 ** ((i % 4) - 2)),
  });
}

let files = 0;

function write(bytes: Uint8Array): string {
  const path = join(folder, `${files++}.safetensors`);
  writeFileSync(path, bytes);
  return path;
}

const writeStates = (codec: Codec, count: number, of = shape) =>
  Array.from({ length: count }, (_, k) => write(makeState(k, of).toBytes(codec)));

/** Opens files, gives them to `use`, and closes them. */
function opened<R>(paths: string[], use: (states: StoredState[]) => R): R {
  const states = paths.map((path) => StoredState.open(path));
  try {
    return use(states);
  } finally {
    for (const state of states) state.close();
  }
}

const bits = (state: ContextState) =>
  [state.ssm, state.conv, state.logDecay].map((array) =>
    Buffer.from(array.buffer, array.byteOffset, array.byteLength).toString("hex"),
  );

describe.each(codecNames)("%s", (codec) => {
  describe.each(compositionMethods)("%s", (method) => {
    it.each([
      ["states", shape],
      ["states whose blocks are no whole words", oddShape],
    ])("%s in files and in memory, on one thread and on three, give the same bits", (_, of) => {
      const paths = writeStates(codec, 7, of);
      const memory = paths.map((path) => StoredState.fromBytes(readFileSync(path), path));
      const expected = composeStored(memory, method, { threads: one });
      expect(expected.tokens).toBe(7 * 10 + 21);
      expect(bits(composeStored(memory, method, { threads: three }))).toEqual(bits(expected));
      for (const threads of [one, three]) {
        const composed = opened(paths, (states) => composeStored(states, method, { threads }));
        expect(bits(composed)).toEqual(bits(expected));
      }
      const decoded = compose(
        paths.map((path) => ContextState.fromBytes(readFileSync(path))),
        method,
      );
      expect(expected.logDecay).toEqual(decoded.logDecay);
      if (codec !== "int8") {
        expect(bits(expected)).toEqual(bits(decoded));
        return;
      }
      for (const name of ["ssm", "conv"] as const) {
        for (const [i, value] of decoded[name].entries()) {
          const magnitude = memory.reduce((sum, _, k) => sum + Math.abs(makeState(k, of)[name][i]!), 0);
          expect(Math.abs(expected[name][i]! - value)).toBeLessThan(1e-6 * magnitude + 1e-6);
        }
      }
    });
  });

  it("one state comes back as it was stored", () => {
    const path = write(makeState(3).toBytes(codec));
    const state = opened([path], (states) => composeStored(states, "picaso-s", { threads: three }));
    expect(bits(state)).toEqual(bits(ContextState.fromBytes(readFileSync(path))));
  });

  it("finds every flipped bit that opening leaves", () => {
    const good = makeState(1).toBytes(codec);
    const { dataStart } = readSafetensors(good, "f");
    for (let at = dataStart; at < good.length; at += 7) {
      const damaged = good.slice();
      damaged[at]! ^= 1 << (at % 8);
      const path = write(damaged);
      const run = () => opened([path], (states) => composeStored(states, "soup", { threads: one }));
      expect(run).toThrow(new RegExp(`${path}.*(checksum|finite number, 0 or less)`));
      expect(() => StoredState.fromBytes(damaged, "bytes")).toThrow(/bytes, data: expected the checksum/);
    }
  });

  it.each(["ssm", "conv"])("finds values of %s with a right checksum that are not finite", (tensor) => {
    const bytes = makeState(1).toBytes(codec);
    const { tensors, metadata } = readSafetensors(bytes, "f");
    const parts = [...tensors].map(([name, { dtype, shape, begin, end }]) => ({
      ...{ name, dtype, shape },
      bytes: bytes.slice(begin, end),
    }));
    parts.find(({ name }) => name === (codec === "int8" ? `${tensor}.scale` : tensor))!.bytes.fill(0xff, 20, 24);
    const forged = writeSafetensors(parts, { ...metadata, dataSum: "0".repeat(32), headerCrc32: "0".repeat(8) });
    sealHeader(forged);
    const path = write(forged);
    const other = write(makeState(2).toBytes(codec));
    const run = () => opened([other, path], (states) => composeStored(states, "picaso-r", { threads: three }));
    expect(run).toThrow(new RegExp(`${path}, tensor ${tensor}.*found NaN`));
  });

  it("finds a file that was cut off after it was opened", () => {
    const paths = writeStates(codec, 2);
    const states = paths.map((path) => StoredState.open(path));
    truncateSync(paths[1]!, states[1]!.layout.ssm.values.end - 100);
    for (const threads of [one, three]) {
      expect(() => composeStored(states, "picaso-r", { threads })).toThrow(/its end at .* changed while it was read/);
    }
    for (const state of states) state.close();
  });
});

it("soup and picaso-s give the same bits for every order, picaso-r for every rotation, with equal decays too", () => {
  const { logDecay } = makeState(0);
  const twins = [0, 1, 2, 3].map((seed) => new ContextState({ ...makeState(seed), logDecay }));
  const paths = twins.map((state) => write(state.toBytes("bf16")));
  const composed = (order: number[], method: "soup" | "picaso-s" | "picaso-r") =>
    bits(
      opened(
        order.map((i) => paths[i]!),
        (states) => composeStored(states, method, { threads: one }),
      ),
    );
  for (const method of ["soup", "picaso-s"] as const) {
    const expected = composed([0, 1, 2, 3], method);
    for (const order of [
      [3, 2, 1, 0],
      [1, 3, 0, 2],
    ])
      expect(composed(order, method)).toEqual(expected);
  }
  expect(composed([2, 3, 0, 1], "picaso-r")).toEqual(composed([0, 1, 2, 3], "picaso-r"));
});

it("other threads take part, and give the same bits", async () => {
  const wide: StateShape = { ...shape, layers: 64, heads: 8, stateSize: 64, headDim: 32 };
  for (const codec of codecNames) {
    const paths = writeStates(codec, 4, wide);
    const memory = paths.map((path) => StoredState.fromBytes(readFileSync(path), path));
    const expected = bits(composeStored(memory, "picaso-s", { threads: one }));
    let shared = 0;
    for (let attempt = 0; attempt < 500 && shared === 0; attempt++) {
      expect(bits(opened(paths, (states) => composeStored(states, "picaso-s", { threads: three })))).toEqual(expected);
      shared = three.chunksShared;
      // Threads start while this one is not waiting for them.
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    expect(shared).toBeGreaterThan(0);
    expect(bits(composeStored(memory, "picaso-s", { threads: three }))).toEqual(expected);
  }
});

it("a composed state can be reused: the same bits, in the same memory", () => {
  const memory = writeStates("bf16", 5).map((path) => StoredState.fromBytes(readFileSync(path), path));
  const expected = composeStored(memory, "picaso-r", { threads: one });
  const old = composeStored(memory.slice(1), "soup", { threads: one });
  const again = composeStored(memory, "picaso-r", { threads: one, reuse: old });
  expect(bits(again)).toEqual(bits(expected));
  expect(again.ssm).toBe(old.ssm);
  const other = makeState(1, oddShape);
  expect(() => composeStored(memory, "soup", { threads: one, reuse: other })).toThrow(/state to reuse/);
});

it("keeps decays when a state is closed, and does not sum it any more", () => {
  const source = new ContextState({ ...makeState(1), logDecay: Float32Array.from(makeState(1).logDecay) });
  const path = write(source.toBytes("f32"));
  for (const state of [StoredState.open(path), StoredState.fromBytes(readFileSync(path), path)]) {
    state.close();
    const next = StoredState.fromBytes(makeState(2).toBytes("f32"), "next");
    expect(state.logDecay).toEqual(source.logDecay);
    expect(() => composeStored([next, state], "soup", { threads: one })).toThrow(/one that was closed/);
    next.close();
  }
});

it("sums states in memory that the kernels cannot read in place to the same bits", () => {
  const paths = writeStates("int8", 4);
  const memory = paths.map((path) => StoredState.fromBytes(readFileSync(path), path));
  const full = vi.spyOn(sharedMemory, "allocate").mockReturnValue(null);
  const elsewhere = paths.map((path) => StoredState.fromBytes(readFileSync(path), path));
  full.mockRestore();
  for (const threads of [one, three]) {
    expect(bits(composeStored(elsewhere, "picaso-s", { threads }))).toEqual(
      bits(composeStored(memory, "picaso-s", { threads })),
    );
  }
});

describe("bad input", () => {
  it("a missing file", () => {
    expect(() => StoredState.open(join(folder, "none"))).toThrow(/none: expected a state file/);
  });

  it("no state file, or a part of one", () => {
    const bytes = makeState(1).toBytes("int8");
    for (const length of [0, 7, 9, 100, bytes.length - 1]) {
      const path = write(bytes.subarray(0, length));
      expect(() => StoredState.open(path)).toThrow(path);
    }
  });

  it("states of other models or codecs", () => {
    const paths = [
      write(makeState(1).toBytes("f32")),
      write(makeState(2).toBytes("bf16")),
      ...writeStates("f32", 1, oddShape),
    ];
    const run = (...which: number[]) =>
      opened(
        which.map((i) => paths[i]!),
        (states) => composeStored(states, "soup", { threads: one }),
      );
    expect(() => run(0, 1)).toThrow(/expected the codec f32.*found bf16/);
    expect(() => run(0, 2)).toThrow(/state 1: .* N8 P6 .* found .* N9 P7/);
    expect(() => run()).toThrow(/contexts: expected one or more/);
  });

  it("values too large to be summed", () => {
    const huge = new ContextState({
      ...makeState(1),
      ssm: makeState(1).ssm.fill(3e38),
      logDecay: new Float64Array(15),
    });
    const paths = [write(huge.toBytes("f32")), write(huge.toBytes("f32"))];
    expect(() => opened(paths, (states) => composeStored(states, "picaso-r", { threads: one }))).toThrow(
      /states whose sum is finite/,
    );
  });
});
