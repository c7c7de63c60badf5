/** What a store holds, document by document and as a whole. */
import type { Codec } from "../state/codec.js";
import type { Catalog } from "./catalog.js";
import { mapConcurrently } from "./files.js";
import type { StoredDocument } from "./passage.js";
import type { StateFiles } from "./state-files.js";

export interface StoreStats {
  documents: number;
  passages: number;
  /** Of all passages; passages that share a state count each. */
  tokens: number;
  /** State files, and their bytes. */
  states: number;
  stateBytes: number;
  catalogBytes: number;
  /** Files that no passage refers to: unused states and leftovers of interrupted work. */
  orphans: number;
  codec: Codec;
  fingerprint: string;
}

/** All documents, sorted by source. */
export async function listDocuments(catalog: Catalog, files: StateFiles): Promise<Map<string, StoredDocument>> {
  const documents = new Map<string, StoredDocument>();
  const expected = new Map<string, { bytes: number; sources: Set<string> }>();
  for await (const row of catalog.scan(["source", "file", "signature", "stateId", "stateBytes"])) {
    const { source, file, signature, stateId, stateBytes } = row;
    const document = documents.get(source);
    if (document === undefined) documents.set(source, { file, signature, passages: 1, whole: true });
    else document.passages++;
    const state = expected.get(stateId);
    if (state === undefined) expected.set(stateId, { bytes: stateBytes, sources: new Set([source]) });
    else state.sources.add(source);
    // Passages that share a state have listed it at one size, or one of them is wrong.
    if (state !== undefined && state.bytes !== stateBytes) documents.get(source)!.whole = false;
  }
  await mapConcurrently([...expected], 32, async ([stateId, { bytes, sources }]) => {
    if ((await files.size(stateId)) === bytes) return;
    for (const source of sources) documents.get(source)!.whole = false;
  });
  return new Map([...documents].sort(([a], [b]) => (a < b ? -1 : 1)));
}

/** Counts and sizes, without those of the store's description, which the caller adds. */
export async function countStore(
  catalog: Catalog,
  files: StateFiles,
): Promise<Omit<StoreStats, "catalogBytes" | "codec" | "fingerprint">> {
  // Files first: what is listed between the two looks is in the second.
  const found = await files.list();
  const sources = new Set<string>();
  const referenced = new Set<string>();
  let passages = 0;
  let tokens = 0;
  for await (const row of catalog.scan(["source", "tokens", "stateId"])) {
    sources.add(row.source);
    referenced.add(row.stateId);
    passages++;
    tokens += row.tokens;
  }
  const states = found.filter(({ stateId }) => stateId !== undefined);
  return {
    documents: sources.size,
    passages,
    tokens,
    states: states.length,
    stateBytes: states.reduce((total, { bytes }) => total + bytes, 0),
    orphans: found.filter(({ stateId }) => stateId === undefined || !referenced.has(stateId)).length,
  };
}
