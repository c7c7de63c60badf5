/**
 * What a training needs to go on after it was stopped at any moment: the trained parameters, the optimizer's moments and
 * the step. Position in the data and random draws follow from step and seed. A checkpoint is a folder that takes its
 * name when it is whole.
 *
 * `step-{n}`: trainer.json and state.safetensors (or shards with an index) with `parameter.`, `m.` and `v.` tensors.
 * `best-{n}`: the parameters of the step with the lowest validation loss.
 */
import { readdir, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { makeWholeFolder, writeWhole } from "../cache.js";
import { PicasoError } from "../errors.js";
import { openSafetensors, openShardedSafetensors, readShardIndex } from "../model/checkpoint/safetensors-source.js";
import type { TensorSource } from "../model/checkpoint/tensor-source.js";
import { readText } from "../model/checkpoint/text-file.js";
import { readFloats } from "../model/checkpoint/values.js";
import type { AdamW } from "./optimizer.js";
import type { HostTensor } from "./parameters.js";
import { type TensorToStore, writeShardedTensors } from "./weights-file.js";

/** Everything but the tensors. */
export interface TrainerState {
  /** Steps done. */
  step: number;
  /** Step and loss of the best validation so far. */
  best: { step: number; loss: number } | null;
  /** Validations since then. */
  checksWithoutGain: number;
  /** Step of the last validation; null before the first. */
  validatedStep: number | null;
  /** What must be the same for the training to go on as it would have. */
  settings: Record<string, unknown>;
}

const stateFile = "trainer.json";
/** By name. */
type Parameters = ReadonlyMap<string, HostTensor>;

/** Files stay below what one read or an old file system takes. */
const maxFileBytes = 1 << 30;

export class Checkpoints {
  constructor(private readonly folder: string) {}

  /** Saves the training after `state.step` and removes what it replaces. Returns the folder. */
  async save(state: TrainerState, parameters: Parameters, optimizer: AdamW): Promise<string> {
    const path = join(this.folder, `step-${state.step}`);
    const moments = [...parameters].flatMap(([name, { shape }]) => {
      const { m, v } = optimizer.moments.get(name)!;
      return [stored(`m.${name}`, shape, m), stored(`v.${name}`, shape, v)];
    });
    await this.write(path, [...parameterTensors(parameters), ...moments], JSON.stringify(state, null, 1));
    await this.keepOnly([`step-${state.step}`, ...(state.best ? [`best-${state.best.step}`] : [])]);
    return path;
  }

  /** Saves the parameters as those of `step`, the best so far. */
  async saveBest(step: number, parameters: Parameters): Promise<void> {
    await this.write(join(this.folder, `best-${step}`), parameterTensors(parameters), JSON.stringify({ step }));
  }

  /** The last state saved; null where there is none. Throws `bad-file`. */
  async last(): Promise<TrainerState | null> {
    const steps = (await this.names()).flatMap((name) => /^step-(\d+)$/.exec(name)?.[1] ?? []).map(Number);
    if (steps.length === 0) return null;
    const path = join(this.folder, `step-${Math.max(...steps)}`, stateFile);
    return parseState(await readText(path, "state of a training", "config"), path);
  }

  /** Reads a saved state into the parameters and the optimizer. Throws `bad-file` where one is missing or has another shape. */
  async restore(step: number, parameters: Parameters, optimizer: AdamW): Promise<void> {
    const folder = join(this.folder, `step-${step}`);
    await withTensors(folder, async (source) => {
      await restoreParameters(source, parameters, folder);
      for (const [name, { shape }] of parameters) {
        const { m, v } = optimizer.moments.get(name)!;
        m.set(await readTensor(source, `m.${name}`, shape, folder));
        v.set(await readTensor(source, `v.${name}`, shape, folder));
      }
    });
  }

  async restoreBest(step: number, parameters: Parameters): Promise<void> {
    const folder = join(this.folder, `best-${step}`);
    await withTensors(folder, (source) => restoreParameters(source, parameters, folder));
  }

  private async write(path: string, tensors: TensorToStore[], state: string): Promise<void> {
    await makeWholeFolder(
      path,
      async (folder) => {
        await writeShardedTensors(folder, "state", tensors, maxFileBytes);
        await writeWhole(join(folder, stateFile), state);
      },
      // One of this name is from before the training was resumed: this one takes its place.
      async () => false,
    );
  }

  private async keepOnly(kept: readonly string[]): Promise<void> {
    for (const name of await this.names()) {
      if (!/^(step|best)-\d+$/.test(name) || kept.includes(name)) continue;
      await rm(join(this.folder, name), { recursive: true, force: true });
    }
  }

  private async names(): Promise<string[]> {
    try {
      return await readdir(this.folder);
    } catch (cause) {
      if ((cause as NodeJS.ErrnoException).code === "ENOENT") return [];
      throw new PicasoError("failed", {
        where: this.folder,
        expected: "to list checkpoints",
        found: cause instanceof Error ? cause.message : String(cause),
        next: "Check the folder's permissions.",
        cause,
      });
    }
  }
}

function parameterTensors(parameters: Parameters): TensorToStore[] {
  return [...parameters].map(([name, { shape, data }]) => stored(`parameter.${name}`, shape, data));
}

function stored(name: string, shape: readonly number[], data: Float32Array): TensorToStore {
  return { name, shape, dtype: "F32", data };
}

async function restoreParameters(source: TensorSource, parameters: Parameters, folder: string): Promise<void> {
  for (const [name, { shape, data }] of parameters) {
    data.set(await readTensor(source, `parameter.${name}`, shape, folder));
  }
}

async function readTensor(
  source: TensorSource,
  name: string,
  shape: readonly number[],
  folder: string,
): Promise<Float32Array> {
  const tensor = source.tensors.get(name);
  if (tensor && `${tensor.shape}` === `${shape}`) return readFloats(source, name);
  throw badCheckpoint(`${folder}, tensor ${name}`, `shape [${shape}]`, tensor ? `[${tensor.shape}]` : "no such tensor");
}

async function withTensors(folder: string, use: (source: TensorSource) => Promise<void>): Promise<void> {
  const single = join(folder, "state.safetensors");
  const index = `${single}.index.json`;
  const isSingle = await stat(single).then(
    () => true,
    () => false,
  );
  const source = isSingle
    ? await openSafetensors(single)
    : await openShardedSafetensors(index, await readShardIndex(index));
  try {
    await use(source);
  } finally {
    await source.close();
  }
}

function parseState(text: string, path: string): TrainerState {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw badCheckpoint(path, "JSON", "other text", cause);
  }
  const { best, settings, validatedStep, ...counts } = (value ?? {}) as Partial<TrainerState>;
  const isCount = (x: unknown) => Number.isSafeInteger(x) && Number(x) >= 0;
  for (const name of ["step", "checksWithoutGain"] as const) {
    if (!isCount(counts[name]))
      throw badCheckpoint(`${path}, ${name}`, "a whole number from 0", describe(counts[name]));
  }
  if (validatedStep !== null && !isCount(validatedStep)) {
    throw badCheckpoint(`${path}, validatedStep`, "null, or a whole number from 0", describe(validatedStep));
  }
  if (best !== null && !(isCount(best?.step) && Number.isFinite(best?.loss))) {
    throw badCheckpoint(`${path}, best`, "null, or step and loss", describe(best));
  }
  if (typeof settings !== "object" || settings === null) {
    throw badCheckpoint(`${path}, settings`, "an object", describe(settings));
  }
  return value as TrainerState;
}

function describe(value: unknown): string {
  return (JSON.stringify(value) ?? "nothing").slice(0, 80);
}

function badCheckpoint(where: string, expected: string, found: string, cause?: unknown): PicasoError {
  return new PicasoError("bad-file", {
    where,
    expected,
    found,
    next: "The checkpoint is damaged or of another training: remove its folder to begin again.",
    cause,
  });
}
