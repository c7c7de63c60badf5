/**
 * The golden data in test/fixtures: tiny random Mamba-2 models with the outputs of an independent float64
 * implementation (sequential recurrence). Names are those of the files: `T5.logits`, `ctx0.ssm`, `soup.2.conv`, ...
 *
 * Letters: L layers, H heads, N state size, P head dimension.
 */
import { copyFile, mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { LanguageModel } from "../../src/model/language-model.js";
import { ContextState } from "../../src/state/context-state.js";
import type { TensorToWrite } from "../../src/state/safetensors.js";
import { findTensor, readTensorFile, values } from "./tensor-file.js";
import { tinyTokenizer } from "./tiny-tokenizer.js";

/** g1: 3 layers, 1 group, tied embeddings. g2: 2 layers, 2 groups, biases, own output embedding, time step limits. */
export type GoldenName = "golden-g1" | "golden-g2";

/** Vocabularies of the two, from their config.json. */
export const goldenVocabulary: Record<GoldenName, number> = { "golden-g1": 288, "golden-g2": 200 };

export function fixture(...parts: string[]): string {
  return join(fileURLToPath(new URL("../fixtures", import.meta.url)), ...parts);
}

/** A model folder with the golden checkpoint and a tokenizer for it, at `path`, which is returned. */
export async function makeGoldenFolder(name: GoldenName, path: string): Promise<string> {
  await mkdir(path, { recursive: true });
  for (const file of ["config.json", "model.safetensors"]) await copyFile(fixture(name, file), join(path, file));
  await writeFile(join(path, "tokenizer.json"), tinyTokenizer(goldenVocabulary[name]));
  return path;
}

export class Golden {
  private constructor(private readonly tensors: TensorToWrite[]) {}

  static async read(name: GoldenName): Promise<Golden> {
    return new Golden(await readTensorFile(fixture(name, "golden.safetensors")));
  }

  values(name: string): number[] {
    return values(findTensor(this.tensors, name));
  }

  /** `{name}.ssm` in our order of axes, [L, H, N, P]; the files have [L, H, P, N]. */
  ssm(name: string): number[] {
    const { shape } = findTensor(this.tensors, `${name}.ssm`);
    const [layers, heads, headDim, stateSize] = shape as [number, number, number, number];
    const source = this.values(`${name}.ssm`);
    const target = new Array<number>(source.length);
    for (let head = 0; head < layers * heads; head++) {
      for (let p = 0; p < headDim; p++) {
        for (let n = 0; n < stateSize; n++) {
          target[(head * stateSize + n) * headDim + p] = source[(head * headDim + p) * stateSize + n]!;
        }
      }
    }
    return target;
  }

  /** The golden state `name`, standing for `tokens` tokens. */
  state(name: string, model: LanguageModel, tokens = 1): ContextState {
    return new ContextState({
      fingerprint: model.fingerprint,
      shape: model.stateShape,
      tokens,
      ssm: Float32Array.from(this.ssm(name)),
      conv: Float32Array.from(this.values(`${name}.conv`)),
      logDecay: Float64Array.from(this.values(`${name}.logdecay`)),
    });
  }
}

/** Largest difference between two arrays, divided by the largest value of the reference; NaN where either has one. */
export function relativeError(found: ArrayLike<number>, reference: ArrayLike<number>): number {
  if (found.length !== reference.length) throw new Error(`${found.length} values against ${reference.length}`);
  let difference = 0;
  let largest = 0;
  for (let i = 0; i < reference.length; i++) {
    difference = Math.max(difference, Math.abs(found[i]! - reference[i]!));
    largest = Math.max(largest, Math.abs(reference[i]!));
  }
  return largest > 0 ? difference / largest : difference;
}
