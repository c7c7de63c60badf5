/**
 * A store of states: a folder with a catalog of passages and one file for each state.
 * ```
 * store.json                              what the store is, see descriptor.ts
 * states/ab/<stateId>.safetensors         see state-files.ts
 * catalog/                                see catalog.ts
 * ```
 * States are written first and listed afterwards; unlisted first and removed afterwards. So whatever is listed is
 * there, and what an interrupted process leaves behind is only unused files.
 */
import { join, resolve } from "node:path";
import { isDeepStrictEqual } from "node:util";
import { PicasoError } from "../errors.js";
import { type Codec, codecNames, isCodec } from "../state/codec.js";
import { assertSameModel, type ContextState, type StateShape } from "../state/context-state.js";
import { encodeState } from "../state/state-file.js";
import { Catalog } from "./catalog.js";
import { collectGarbage, type GcReport, removeUnreferenced } from "./cleanup.js";
import { assertModel, createStore, type StoreModel } from "./create.js";
import { type PassageSettings, readDescriptor, replaceDescriptor, type StoreDescriptor } from "./descriptor.js";
import { folderBytes } from "./files.js";
import { stateId as idOfState, STATE_ID_DIGITS } from "./ids.js";
import { sqlList } from "./lance.js";
import { findPassages, findSources } from "./lookup.js";
import type { NewDocument, SearchHit, StoredDocument, StoredPassage } from "./passage.js";
import { replaceDocuments } from "./replace.js";
import { searchWhole } from "./search.js";
import { StateFiles } from "./state-files.js";
import { countStore, listDocuments, type StoreStats } from "./summary.js";
import { readState, type VerifyOptions, type VerifyReport, verifyStore } from "./verify.js";

export type { GcReport } from "./cleanup.js";
export type { StoreModel } from "./create.js";
export type { PassageSettings } from "./descriptor.js";
export type { NewDocument, NewPassage, SearchHit, StoredDocument, StoredPassage } from "./passage.js";
export type { StoreStats } from "./summary.js";
export type { Problem, VerifyOptions, VerifyReport } from "./verify.js";

export interface OpenOptions<Model extends StoreModel> {
  /** The model that the store has to belong to; a new store is made for it. */
  model?: Model;
  /** How a new store keeps its states. @default "bf16" */
  codec?: Codec;
  /** Whether to make a store where there is none. @default "create" with a model, "existing" without */
  mode?: "create" | "existing";
}

export class StateStore<Model extends StoreModel = StoreModel> {
  readonly fingerprint: string;
  readonly stateShape: Readonly<StateShape>;
  readonly codec: Codec;
  private readonly files: StateFiles;
  private opening: Promise<Catalog> | undefined;

  private constructor(
    /** Absolute path of the store's folder. */
    readonly directory: string,
    private descriptor: StoreDescriptor,
    /** As given to `open`. */
    readonly model: Model | undefined,
  ) {
    this.fingerprint = descriptor.fingerprint;
    this.stateShape = descriptor.stateShape;
    this.codec = descriptor.codec;
    this.files = new StateFiles(join(directory, "states"));
  }

  /**
   * Opens the store in a folder, or makes one. Throws `not-found` when there is none to open, `mismatch` when it is of
   * another model or has another codec than asked for, `bad-file` when it is damaged, `unsupported` when a newer
   * version made it or the path is an address.
   */
  static async open<Model extends StoreModel>(
    path: string,
    { model, codec, mode = model === undefined ? "existing" : "create" }: OpenOptions<Model> = {},
  ): Promise<StateStore<Model>> {
    const directory = localFolder(path);
    if (codec !== undefined && !isCodec(codec)) {
      const [expected, found] = [codecNames.join(" or "), JSON.stringify(codec)];
      throw new PicasoError("bad-argument", { where: "--codec", expected, found, next: "Give one of these." });
    }
    let descriptor = await readDescriptor(directory);
    if (descriptor === undefined) {
      if (model === undefined || mode === "existing") throw noStore(directory);
      descriptor = await createStore(directory, model, codec ?? "bf16");
    }
    const file = join(directory, "store.json");
    if (model !== undefined) assertModel(descriptor, model, file);
    if (codec !== undefined && codec !== descriptor.codec) {
      throw new PicasoError("mismatch", {
        where: file,
        expected: `codec ${codec}, as asked for`,
        found: `codec ${descriptor.codec}`,
        next: "Leave --codec out to use this store, or name another folder with --store.",
      });
    }
    return new StateStore(directory, descriptor, model);
  }

  /** How the store's documents were last cut into passages; undefined before the first were. */
  get passageSettings(): PassageSettings | undefined {
    return this.descriptor.passages;
  }

  /** Remembers how documents are cut into passages, for whoever indexes more of them. Throws `failed`. */
  async keepPassageSettings({ passageTokens, overlap }: PassageSettings): Promise<void> {
    const passages = { passageTokens, overlap };
    if (isDeepStrictEqual(this.descriptor.passages, passages)) return;
    this.descriptor = { ...this.descriptor, passages };
    await replaceDescriptor(this.directory, this.descriptor);
  }

  /** The id of the state that the store's model has after these tokens. Passages with equal tokens share one state. */
  stateId(tokens: ArrayLike<number>): string {
    return idOfState(this.fingerprint, tokens);
  }

  /**
   * Whether a state is there, with an undamaged header that fits the file's length. With `checksum` all of it is read,
   * and a damaged one counts as absent.
   */
  async hasState(stateId: string, { checksum = false }: { checksum?: boolean } = {}): Promise<boolean> {
    assertStateId(stateId);
    if (!(await this.files.isWhole(stateId))) return false;
    if (!checksum) return true;
    try {
      readState(await this.files.read(stateId), stateId, this.descriptor, this.files.path(stateId));
      return true;
    } catch (error) {
      if (PicasoError.isInstance(error) && ["bad-file", "mismatch", "not-found"].includes(error.code)) return false;
      throw error;
    }
  }

  /** {@link hasState}, for a state that a passage is about to be listed with: `gc` leaves it alone for a while. */
  async keepState(stateId: string): Promise<boolean> {
    return (await this.hasState(stateId)) && (await this.files.touch(stateId));
  }

  /** Writes a state; afterwards it is safe on disk. Throws `mismatch` for one of another model, `failed`. */
  async putState(stateId: string, state: ContextState, { textHash }: { textHash?: string } = {}): Promise<void> {
    assertStateId(stateId);
    const own = { fingerprint: this.fingerprint, shape: this.stateShape };
    assertSameModel(own, state, `state for ${this.directory}`);
    await this.files.write(stateId, encodeState(state, { codec: this.codec, textHash, extra: { stateId } }));
  }

  /**
   * Lists these documents in place of what the store had of the same sources, in one commit; states that nothing refers
   * to any longer are removed. The states are put before. See replace.ts for errors.
   */
  async replaceDocuments(documents: readonly NewDocument[]): Promise<void> {
    for (const { passages } of documents) for (const { stateId } of passages) assertStateId(stateId);
    await replaceDocuments(await this.catalog(), this.files, this.codec, documents);
  }

  /** Removes documents and the states that only they referred to; returns the number of passages removed. */
  async removeDocuments(sources: readonly string[]): Promise<number> {
    if (sources.length === 0) return 0;
    const catalog = await this.catalog();
    const states = await catalog.statesOf([...sources]);
    const removed = await catalog.remove([...sources]);
    await removeUnreferenced(catalog, this.files, [...states]);
    return removed;
  }

  /** All documents by source, sorted, for finding what has changed. */
  async documents(): Promise<Map<string, StoredDocument>> {
    return listDocuments(await this.catalog(), this.files);
  }

  /** The sources that names of documents, files or folders mean. Throws `not-found` for a name that means none. */
  async resolveSources(names: readonly string[]): Promise<string[]> {
    return findSources(await this.catalog(), names);
  }

  /**
   * The `k` passages that match the words of `query` best (BM25), best first. The query is plain text: no character of
   * it has a meaning. Passages whose state is missing are passed over.
   */
  async search(query: string, { k }: { k: number }): Promise<SearchHit[]> {
    assertCount("k", k, 1);
    return searchWhole(await this.catalog(), this.files, query, k);
  }

  /** Passages by id or a beginning of it, 6 digits or more, in this order. Throws `not-found` or `bad-argument`. */
  async get(ids: readonly string[]): Promise<StoredPassage[]> {
    return findPassages(await this.catalog(), ids);
  }

  /** Passages by source and position; those of some sources, or of all where none is given. */
  async list({
    sources = [],
    limit,
    offset,
  }: {
    sources?: readonly string[];
    limit?: number;
    offset?: number;
  } = {}): Promise<StoredPassage[]> {
    if (limit !== undefined) assertCount("limit", limit, 1);
    if (offset !== undefined) assertCount("offset", offset, 0);
    const where = sources.length === 0 ? undefined : `source IN ${sqlList(sources)}`;
    return (await this.catalog()).passages(where, { limit, offset });
  }

  /** A passage's state. Throws `not-found`, `bad-file` or `mismatch`, naming the file. */
  async loadState({ stateId, tokens }: Pick<StoredPassage, "stateId" | "tokens">): Promise<ContextState> {
    assertStateId(stateId);
    const path = this.files.path(stateId);
    try {
      const state = readState(await this.files.read(stateId), stateId, this.descriptor, path);
      if (state.tokens === tokens) return state;
      const [expected, found] = [`a state of ${tokens} tokens`, `one of ${state.tokens}`];
      throw new PicasoError("bad-file", { where: path, expected, found, next: "" });
    } catch (error) {
      if (!PicasoError.isInstance(error) || (error.code !== "bad-file" && error.code !== "mismatch")) throw error;
      const next = "Run `picaso verify` to find all damage, then `picaso index PATH...` to encode it again.";
      throw new PicasoError(error.code, { ...error.details, next, cause: error });
    }
  }

  /** Brings the search index up to date; searches find everything without it too, only more slowly. */
  async refreshIndex(): Promise<void> {
    await (await this.catalog()).optimize();
  }

  async stats(): Promise<StoreStats> {
    const counts = await countStore(await this.catalog(), this.files);
    const catalogBytes = await folderBytes(join(this.directory, "catalog"));
    return { ...counts, catalogBytes, codec: this.codec, fingerprint: this.fingerprint };
  }

  /** Reads everything and reports what is wrong. See verify.ts. Throws `aborted`. */
  async verify(options: VerifyOptions = {}): Promise<VerifyReport> {
    return verifyStore(await this.catalog(), this.files, this.descriptor, options);
  }

  /** Removes what nothing refers to and has not changed for an hour, or as long as given. See cleanup.ts. */
  async gc({ olderThanMs = 3_600_000 }: { olderThanMs?: number } = {}): Promise<GcReport> {
    return collectGarbage(await this.catalog(), this.files, olderThanMs);
  }

  async close(): Promise<void> {
    const catalog = await this.opening?.catch(() => undefined);
    catalog?.close();
  }

  /** Opened when it is first needed: loading LanceDB takes longer than all else. */
  private catalog(): Promise<Catalog> {
    this.opening ??= Catalog.open(join(this.directory, "catalog"));
    return this.opening;
  }
}

function localFolder(path: string): string {
  if (!/^[a-z][a-z0-9+.-]*:\/\//i.test(path)) return resolve(path);
  throw new PicasoError("unsupported", {
    where: path,
    expected: "a folder of this machine",
    found: "an address",
    next: "Name a local folder with --store.",
  });
}

function noStore(directory: string): PicasoError {
  return new PicasoError("not-found", {
    where: directory,
    expected: "a store",
    found: "none",
    next: "Run `picaso index PATH...` first, or name another folder with --store.",
  });
}

function assertStateId(id: string): void {
  if (id.length === STATE_ID_DIGITS && /^[0-9a-f]+$/.test(id)) return;
  throw new PicasoError("bad-argument", {
    where: "state id",
    expected: `${STATE_ID_DIGITS} hexadecimal digits`,
    found: JSON.stringify(id).slice(0, 60),
    next: "Use the id that `stateId` gives.",
  });
}

function assertCount(name: string, value: number, least: number): void {
  if (Number.isSafeInteger(value) && value >= least) return;
  throw new PicasoError("bad-argument", {
    where: name,
    expected: `a whole number from ${least}`,
    found: String(value),
    next: "Give another value.",
  });
}
