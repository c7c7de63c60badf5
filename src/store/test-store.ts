/** For tests of the store: a model that is none, states of its small shape, documents made of texts. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ContextState, stateSizes } from "../state/context-state.js";
import { hashText } from "./ids.js";
import type { NewDocument } from "./passage.js";
import { type OpenOptions, StateStore, type StoreModel } from "./store.js";

export const model: StoreModel = {
  fingerprint: "fake-model-1",
  stateShape: { layers: 2, heads: 2, stateSize: 4, headDim: 3, convWidth: 3, convDim: 5 },
};

/** Makes a folder, gives it to `use`, and removes it. */
export async function withFolder(use: (folder: string) => Promise<void>): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), "picaso-store-"));
  try {
    await use(folder);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** Gives a new, empty store in a temporary folder to `use`. */
export async function withStore(
  use: (store: StateStore, directory: string) => Promise<void>,
  options: Omit<OpenOptions<StoreModel>, "model"> = {},
): Promise<void> {
  await withFolder(async (folder) => {
    const directory = join(folder, "store");
    const store = await StateStore.open(directory, { model, codec: "f32", ...options });
    try {
      await use(store, directory);
    } finally {
      await store.close();
    }
  });
}

export function tokensOf(text: string): number[] {
  return [...Buffer.from(text, "utf8")];
}

/** A state that depends on the tokens alone. */
export function fakeState(tokens: readonly number[], { fingerprint, stateShape }: StoreModel = model): ContextState {
  const size = stateSizes(stateShape);
  let seed = tokens.reduce((sum, token) => (Math.imul(sum, 31) + token + 1) >>> 0, 7);
  const random = (): number => {
    seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
    return seed / 2 ** 32;
  };
  return new ContextState({
    fingerprint,
    shape: stateShape,
    tokens: tokens.length,
    ssm: Float32Array.from({ length: size.ssm }, () => random() - 0.5),
    conv: Float32Array.from({ length: size.conv }, () => random() - 0.5),
    logDecay: Float64Array.from({ length: size.logDecay }, () => -random()),
  });
}

/** A document with these passages, one character apart. */
export function documentOf(store: StateStore, source: string, texts: string[], signature = "v1"): NewDocument {
  let start = 0;
  const passages = texts.map((text, position) => {
    const tokens = tokensOf(text);
    const place = { position, start, end: start + text.length };
    start += text.length + 1;
    return { ...place, text, tokens: tokens.length, stateId: store.stateId(tokens), textHash: hashText(text) };
  });
  return { source, file: source, signature, passages };
}

/** Does what indexing does: puts the states that are not there, then lists the documents. */
export async function index(store: StateStore, documents: NewDocument[]): Promise<void> {
  for (const { passages } of documents) {
    for (const { text, stateId, textHash } of passages) {
      if (await store.keepState(stateId)) continue;
      await store.putState(stateId, fakeState(tokensOf(text)), { textHash });
    }
  }
  await store.replaceDocuments(documents);
}

/** {@link index} for sources with their texts. */
export async function indexTexts(
  store: StateStore,
  texts: Record<string, string[]>,
  signature?: string,
): Promise<void> {
  await index(
    store,
    Object.entries(texts).map(([source, each]) => documentOf(store, source, each, signature)),
  );
}
