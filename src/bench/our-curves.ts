/** The curves of this program: states composed from memory and from disk in each codec, and concatenation. */
import { readFileSync } from "node:fs";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { composeStored } from "../compose/node/compose-stored.js";
import { StoredState } from "../compose/node/stored-state.js";
import type { CompositionMethod } from "../compose/weights.js";
import type { LanguageModel } from "../model/language-model.js";
import type { Codec } from "../state/codec.js";
import type { ContextState } from "../state/context-state.js";
import type { Curve, Point, Task, TaskTimes } from "./curve.js";

/** The states of a sweep's contexts, as files in each codec; each context is encoded once. */
export class BenchStates {
  private readonly known = new Map<string, ContextState>();

  constructor(
    private readonly model: LanguageModel,
    private readonly folder: string,
  ) {}

  /** Paths of the contexts' files, written where they are not there yet. */
  async files(contexts: Task["contexts"], { contextTokens }: Point, codec: Codec): Promise<string[]> {
    const names = contexts.map((_, index) => `${contextTokens}-${index}`);
    const missing = names.flatMap((name, index) => (this.known.has(name) ? [] : [index]));
    const states = await this.model.encodeMany(missing.map((index) => contexts[index]!));
    for (const [i, index] of missing.entries()) this.known.set(names[index]!, states[i]!);
    await mkdir(join(this.folder, codec), { recursive: true });
    const paths = names.map((name) => join(this.folder, codec, `${name}.safetensors`));
    for (const [i, name] of names.entries()) await writeFile(paths[i]!, this.known.get(name)!.toBytes(codec));
    return paths;
  }

  /** Forgets the states in memory; the files stay until the folder is removed. */
  forget(): void {
    this.known.clear();
  }
}

/** Composition of stored states; from disk, opening and reading the files is part of the time. */
export function composeCurve(
  model: LanguageModel,
  states: BenchStates,
  stateBytes: number,
  { codec, from, method }: { codec: Codec; from: "memory" | "disk"; method: CompositionMethod },
): Curve {
  return {
    name: `${codec}, ${from}`,
    reads: "states",
    bytes: ({ contexts }) => contexts * stateBytes,
    async prepare(task, point) {
      if (point.contexts === 0) return { run: (newTokens) => answer(model, () => undefined, task.prompt, newTokens) };
      const paths = await states.files(task.contexts, point, codec);
      const kept = from === "memory" ? paths.map((path) => hold(path)) : null;
      let reuse: ContextState | undefined;
      const compose = () => {
        const opened = kept ?? paths.map((path) => StoredState.open(path));
        try {
          // As `ask` does from one question to the next.
          reuse = composeStored(opened, method, { reuse });
          return reuse;
        } finally {
          if (!kept) for (const state of opened) state.close();
        }
      };
      return {
        run: (newTokens) => answer(model, compose, task.prompt, newTokens),
        close: () => kept?.forEach((state) => void state.close()),
      };
    },
  };
}

/** The contexts' tokens before the prompt, read every time. */
export function concatCurve(model: LanguageModel): Curve {
  return {
    name: "concat",
    reads: "tokens",
    bytes: () => null,
    prepare: async (task) => ({
      run: (newTokens) => answer(model, () => undefined, [...task.contexts.flat(), ...task.prompt], newTokens),
    }),
  };
}

function hold(path: string): StoredState {
  return StoredState.fromBytes(readFileSync(path), path);
}

/** Reads the tokens from a state and generates greedily, whatever the tokens are: no end of sequence stops it. */
async function answer(
  model: LanguageModel,
  makeState: () => ContextState | undefined,
  tokens: readonly number[],
  newTokens: number,
): Promise<TaskTimes> {
  const start = performance.now();
  const state = makeState();
  const stateMs = state === undefined ? null : performance.now() - start;
  const advance = model.continueFrom([state ?? model.zeroState()], { overwrite: true });
  const next = async (input: readonly number[]) =>
    largest((await advance([{ tokens: input, rows: [input.length - 1] }]))[0]!.logits);
  let token = await next(tokens);
  const firstTokenMs = performance.now() - start;
  for (let count = 1; count < newTokens; count++) token = await next([token]);
  return { stateMs, firstTokenMs, totalMs: newTokens > 1 ? performance.now() - start : null };
}

function largest(values: Float32Array): number {
  let best = 0;
  for (let i = 1; i < values.length; i++) if (values[i]! > values[best]!) best = i;
  return best;
}
