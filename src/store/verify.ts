/** Reads a whole store and tells what is wrong with it. */
import { PicasoError, throwIfAborted } from "../errors.js";
import { assertSameModel, type StateShape } from "../state/context-state.js";
import { decodeStateFile } from "../state/state-file.js";
import type { StateMetadata } from "../state/state-header.js";
import type { Catalog } from "./catalog.js";
import type { StoreDescriptor } from "./descriptor.js";
import { hashText } from "./ids.js";
import type { StoredPassage } from "./passage.js";
import type { StateFiles } from "./state-files.js";

export interface Problem {
  /** Of the passage. */
  id: string;
  source: string;
  /** The state's file. */
  file: string;
  problem: string;
}

export interface VerifyReport {
  passages: number;
  /** Different states that they refer to. */
  states: number;
  problems: Problem[];
  /** Files that no passage refers to, from the store's folder on; `gc` removes them. */
  orphans: string[];
}

export interface VerifyOptions {
  /** Passages checked so far, and all. */
  onProgress?: (progress: { done: number; total: number }) => void;
  signal?: AbortSignal;
}

type Row = Pick<StoredPassage, "id" | "source" | "stateId" | "stateBytes" | "tokens">;

/**
 * Checks every passage's text against its hash, and every state: size, checksums, fingerprint, shape, token count. A
 * state file whose content is bad is renamed (its name gets the ending `.damaged`), so that the next index encodes its
 * passages again.
 */
export async function verifyStore(
  catalog: Catalog,
  files: StateFiles,
  descriptor: StoreDescriptor,
  { onProgress, signal }: VerifyOptions,
): Promise<VerifyReport> {
  // Files first: what is listed between the two looks is in the second.
  const found = await files.list();
  const byState = new Map<string, Row[]>();
  const problems: Problem[] = [];
  let total = 0;
  for await (const { text, textHash: expected, ...row } of catalog.scan([
    ...(["id", "source", "stateId", "stateBytes", "tokens", "text", "textHash"] as const),
  ])) {
    throwIfAborted(signal, "verify");
    total++;
    const rows = byState.get(row.stateId);
    if (rows === undefined) byState.set(row.stateId, [row]);
    else rows.push(row);
    if (hashText(text) !== expected)
      problems.push(problemOf(files, row, "its text does not have the hash listed with it"));
  }
  let done = 0;
  for (const [stateId, rows] of byState) {
    throwIfAborted(signal, "verify");
    problems.push(...(await checkState(files, descriptor, stateId, rows)));
    done += rows.length;
    onProgress?.({ done, total });
  }
  return {
    passages: total,
    states: byState.size,
    problems: await stillListed(catalog, files, problems),
    orphans: found
      .filter(({ stateId }) => stateId === undefined || !byState.has(stateId))
      .map(({ path }) => files.shortPath(path)),
  };
}

async function checkState(
  files: StateFiles,
  descriptor: StoreDescriptor,
  stateId: string,
  rows: Row[],
): Promise<Problem[]> {
  let tokens: number;
  let size: number;
  try {
    const bytes = await files.read(stateId);
    size = bytes.length;
    tokens = readState(bytes, stateId, descriptor, files.path(stateId)).tokens;
  } catch (error) {
    if (!PicasoError.isInstance(error)) throw error;
    const isBad = error.code === "bad-file" || error.code === "mismatch";
    const aside = isBad ? await files.setAside(stateId, "damaged") : undefined;
    const { expected, found, where } = error.details;
    const problem = `${where}: expected ${expected}, found ${found}`;
    const remark = aside === undefined ? "" : ` (set aside as ${files.shortPath(aside)})`;
    return rows.map((row) => problemOf(files, row, problem + remark));
  }
  return rows.flatMap((row) => {
    if (row.stateBytes !== size)
      return [problemOf(files, row, `${row.stateBytes} bytes are listed, the state has ${size}`)];
    if (row.tokens !== tokens)
      return [problemOf(files, row, `${row.tokens} tokens are listed, the state has ${tokens}`)];
    return [];
  });
}

/**
 * The state in a file's bytes, fully checked: `bad-file` for damage or another passage's state, `mismatch` for one of
 * another model, both naming `where`.
 */
export function readState(bytes: Uint8Array, stateId: string, descriptor: StoreDescriptor, where: string) {
  const { state, metadata } = decodeStateFile(bytes, where);
  assertOwnState({ ...state, metadata }, stateId, descriptor, where);
  return state;
}

/** Throws `mismatch` for the state of another model, `bad-file` for that of another passage. */
export function assertOwnState(
  { fingerprint, shape, metadata }: IdentifiedState,
  stateId: string,
  descriptor: StoreDescriptor,
  where: string,
): void {
  const own = { fingerprint: descriptor.fingerprint, shape: descriptor.stateShape };
  assertSameModel(own, { fingerprint, shape }, where);
  if (metadata.extra.stateId === stateId) return;
  throw new PicasoError("bad-file", {
    where: `${where}, metadata stateId`,
    expected: stateId,
    found: metadata.extra.stateId ?? "nothing",
    next: "The file belongs to another passage: run `picaso verify`.",
  });
}

/** What a state file says of itself. */
export interface IdentifiedState {
  fingerprint: string;
  shape: Readonly<StateShape>;
  tokens: number;
  metadata: StateMetadata;
}

/** Without those of passages that another process has removed or replaced meanwhile. */
async function stillListed(catalog: Catalog, files: StateFiles, problems: Problem[]): Promise<Problem[]> {
  if (problems.length === 0) return problems;
  const listed = new Set<string>();
  for await (const { id, stateId } of catalog.scan(["id", "stateId"])) listed.add(`${id} ${files.path(stateId)}`);
  return problems.filter(({ id, file }) => listed.has(`${id} ${file}`));
}

function problemOf(files: StateFiles, { id, source, stateId }: Row, problem: string): Problem {
  return { id, source, file: files.path(stateId), problem };
}
