/** Making a store for a model, and checking that a store belongs to one. */
import { mkdir, readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { PicasoError } from "../errors.js";
import type { Codec } from "../state/codec.js";
import { describeShape, type StateShape } from "../state/context-state.js";
import { Catalog } from "./catalog.js";
import { createDescriptor, readDescriptor, type StoreDescriptor } from "./descriptor.js";
import { cannotWrite, unlessAbsent } from "./files.js";

/** What a store needs to know of a model. */
export interface StoreModel {
  fingerprint: string;
  stateShape: StateShape;
}

/**
 * Makes a store in a folder. The description is written last: where it is, the rest is. Returns the description that
 * counts, which is another process's if that was faster. Throws `bad-file` for a store that has lost its description,
 * `bad-argument` for a file and for a folder of something else.
 */
export async function createStore(directory: string, model: StoreModel, codec: Codec): Promise<StoreDescriptor> {
  await assertFree(directory);
  try {
    // Texts and what models made of them are nobody else's business.
    for (const part of ["states", "catalog"]) await mkdir(join(directory, part), { recursive: true, mode: 0o700 });
  } catch (cause) {
    throw cannotWrite(directory, cause);
  }
  const catalog = await Catalog.create(join(directory, "catalog"));
  const [listed] = await catalog.passages(undefined, { limit: 1 });
  catalog.close();
  const file = join(directory, "store.json");
  const descriptor = await readDescriptor(directory);
  if (descriptor !== undefined) return descriptor;
  if (listed !== undefined) {
    throw new PicasoError("bad-file", {
      where: file,
      expected: "the description of the store, whose catalog has passages",
      found: "nothing",
      next: "Restore the file, or remove the folder and index the documents again.",
    });
  }
  const { fingerprint, stateShape } = model;
  await createDescriptor(directory, { fingerprint, stateShape, codec });
  // Not necessarily the one just written: another process may have been faster.
  return (await readDescriptor(directory))!;
}

/** Names in a store's folder, with those of a description that is being written. */
const ownName = /^(states|catalog|store\.json.*)$/;

/** Throws unless there is nothing at `directory`, or an empty folder, or what an interrupted making of a store left. */
async function assertFree(directory: string): Promise<void> {
  const refuse = (found: string): never => {
    const expected = "a folder for the store, new or empty";
    throw new PicasoError("bad-argument", {
      ...{ where: directory, expected, found },
      next: "Name another folder with --store.",
    });
  };
  const info = await unlessAbsent(directory, stat(directory));
  if (info === undefined) return;
  if (!info.isDirectory()) refuse("a file");
  const foreign = (await unlessAbsent(directory, readdir(directory)))?.find((name) => !ownName.test(name));
  if (foreign !== undefined) refuse(`a folder with other things in it, such as ${foreign}`);
}

/** Throws `mismatch`, naming both, unless the store in `file` belongs to the model. */
export function assertModel({ fingerprint, stateShape }: StoreDescriptor, model: StoreModel, file: string): void {
  const shapes = [describeShape(stateShape), describeShape(model.stateShape)];
  if (fingerprint === model.fingerprint && shapes[0] === shapes[1]) return;
  throw new PicasoError("mismatch", {
    where: file,
    expected: `a store of the model in use, ${model.fingerprint} (${shapes[1]})`,
    found: `one of ${fingerprint} (${shapes[0]})`,
    next: "Use the --model and --dtype that the store was made with, or index the documents into another folder with --store.",
  });
}
