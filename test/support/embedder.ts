/** The tiny Sentence-Transformers model in test/fixtures/embedder, and copies of it with other files. */
import { cp, mkdir, rm, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fixture } from "./golden.js";

export const embedderFolder = fixture("embedder");

/** Contents by path: JSON values, bytes, or null for a file that is to be absent. */
export type Changes = Record<string, object | Uint8Array | null>;

/** A copy of the model at `path`, which is returned, with these changes. */
export async function changedEmbedder(path: string, changes: Changes): Promise<string> {
  await rm(path, { recursive: true, force: true });
  await cp(embedderFolder, path, { recursive: true });
  for (const [name, content] of Object.entries(changes)) {
    const file = join(path, name);
    await mkdir(dirname(file), { recursive: true });
    if (content === null) await rm(file);
    else await writeFile(file, content instanceof Uint8Array ? content : JSON.stringify(content));
  }
  return path;
}
