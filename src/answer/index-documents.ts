/**
 * The offline line: documents -> passages -> tokens -> states -> store. Only what changed since the last run is read
 * into states; states are written as they come and documents listed in groups, so that an interrupted run goes on
 * where it stopped.
 */
import { createHash } from "node:crypto";
import { isDeepStrictEqual } from "node:util";
import { PicasoError, throwIfAborted } from "../errors.js";
import { contextTokens } from "../model/form.js";
import type { LanguageModel } from "../model/language-model.js";
import { type Document, type DocumentFile, findDocumentFiles, isInside, readDocuments } from "../retrieve/documents.js";
import { checkPassageOptions, type Passage, splitPassages } from "../retrieve/passages.js";
import type { NewDocument, StateStore } from "../store/store.js";
import { modelOf } from "./model-of.js";

export interface IndexOptions {
  /** Most tokens of a passage's text. @default what the store was indexed with last, or 256 */
  passageTokens?: number;
  /** Tokens of whole sentences repeated from the passage before. @default what the store was indexed with last, or 0 */
  overlap?: number;
  onProgress?: (progress: IndexProgress) => void;
  signal?: AbortSignal;
}

/** `scan` counts documents against all files; `encode` passages against those that are new. */
export interface IndexProgress {
  phase: "scan" | "encode";
  done: number;
  total: number;
  /** Tokens encoded so far. */
  tokens: number;
}

export interface IndexReport {
  /** `empty` documents have no text, and nothing of them is stored. */
  documents: { added: number; changed: number; unchanged: number; removed: number; empty: number };
  /** Files in the folders given whose format is not read. */
  skipped: number;
  settings: { passageTokens: number; overlap: number };
  /** Whether the store's documents were cut otherwise before. */
  recut: boolean;
  /** `reused` passages had their state in the store already. */
  passages: { encoded: number; reused: number };
  tokens: number;
  seconds: number;
  /** Files that could not be read; all others were indexed. */
  failures: { file: string; error: PicasoError }[];
}

/** Most passages encoded together; fewer where they take longer than this: what is not yet encoded can be lost. */
const encodeGroup = 32;
const encodeSeconds = 4;

/** Passages listed in one commit of the catalog, or those of this time. */
const commitGroup = 512;
const commitSeconds = 15;

/** Brings the store up to date with the documents under `paths`. Throws `aborted`; what is done stays done. */
export async function indexDocuments(
  store: StateStore<LanguageModel>,
  paths: readonly string[],
  options: IndexOptions = {},
): Promise<IndexReport> {
  const run = new IndexRun(store, modelOf(store), options);
  await run.scan(paths);
  await run.encode();
  await run.removeVanished(paths);
  await store.refreshIndex();
  return run.finish();
}

class IndexRun {
  private readonly start = performance.now();
  private readonly settings: { maxTokens: number; overlap: number };
  private readonly report: IndexReport = {
    documents: { added: 0, changed: 0, unchanged: 0, removed: 0, empty: 0 },
    skipped: 0,
    settings: { passageTokens: 0, overlap: 0 },
    recut: false,
    passages: { encoded: 0, reused: 0 },
    tokens: 0,
    seconds: 0,
    failures: [],
  };
  /** Files with something new, and the signatures of what was seen. */
  private readonly changedFiles: DocumentFile[] = [];
  private readonly seen = new Set<string>();
  private known = new Map<string, { file: string; signature: string; whole: boolean }>();
  private newPassages = 0;

  /** States waiting to be computed, and documents whose states are all computed or waiting. */
  private waiting = new Map<string, { tokens: number[]; textHash: string }>();
  private ready: NewDocument[] = [];
  private readyPassages = 0;
  private lastCommit = performance.now();
  private groupSize = encodeGroup / 4;

  constructor(
    private readonly store: StateStore<LanguageModel>,
    private readonly model: LanguageModel,
    private readonly options: IndexOptions,
  ) {
    const { passageTokens = 256, overlap = 0 } = store.passageSettings ?? {};
    this.settings = { maxTokens: options.passageTokens ?? passageTokens, overlap: options.overlap ?? overlap };
    // Told before anything is read.
    checkPassageOptions(this.settings);
    this.report.settings = { passageTokens: this.settings.maxTokens, overlap: this.settings.overlap };
  }

  /** Finds what is new, without computing any state. */
  async scan(paths: readonly string[]): Promise<void> {
    const files = await findDocumentFiles(paths, { onSkipped: () => this.report.skipped++ });
    const before = this.store.passageSettings;
    await this.store.keepPassageSettings(this.report.settings);
    this.known = await this.store.documents();
    this.report.recut = before !== undefined && !isDeepStrictEqual(before, this.report.settings) && this.known.size > 0;
    for (const [index, file] of files.entries()) {
      throwIfAborted(this.options.signal, "index");
      let changed = false;
      await this.reportingFailure(file, async () => {
        for await (const document of readDocuments(file)) {
          if (document.text.trim() === "") {
            this.report.documents.empty++;
            continue;
          }
          this.see(document);
          if (this.isUnchanged(document)) this.report.documents.unchanged++;
          else {
            changed = true;
            this.newPassages += this.split(document).length;
          }
        }
      });
      if (changed) this.changedFiles.push(file);
      this.progress("scan", index + 1, files.length);
    }
  }

  /** Computes and stores what is new. */
  async encode(): Promise<void> {
    const failed = new Set(this.report.failures.map(({ file }) => file));
    try {
      for (const file of this.changedFiles) {
        if (failed.has(file.path)) continue;
        await this.reportingFailure(file, async () => {
          for await (const document of readDocuments(file)) {
            if (document.text.trim() !== "" && !this.isUnchanged(document)) await this.add(document);
          }
        });
      }
      await this.commit();
    } catch (cause) {
      if (!PicasoError.isInstance(cause) || cause.code !== "aborted") throw cause;
      throw new PicasoError("aborted", {
        where: this.store.directory,
        expected: `${this.newPassages} new passages in the store`,
        found: `an interruption after ${this.placed()}`,
        next: "Run the same command again: it goes on from there.",
        cause,
      });
    }
  }

  /** Removes documents whose file, or place in a file, is gone from the given paths. */
  async removeVanished(paths: readonly string[]): Promise<void> {
    const failed = new Set(this.report.failures.map(({ file }) => file));
    const vanished = [...this.known].filter(
      ([source, { file }]) => !this.seen.has(source) && !failed.has(file) && paths.some((path) => isInside(file, path)),
    );
    if (vanished.length === 0) return;
    await this.store.removeDocuments(vanished.map(([source]) => source));
    this.report.documents.removed = vanished.length;
  }

  finish(): IndexReport {
    this.report.seconds = (performance.now() - this.start) / 1000;
    return this.report;
  }

  private async add(document: Document): Promise<void> {
    const passages: NewDocument["passages"] = [];
    for (const passage of this.split(document)) {
      passages.push(await this.place(passage));
      if (this.waiting.size >= this.groupSize) await this.encodeWaiting();
    }
    this.ready.push({ source: document.source, file: document.file, signature: this.signature(document), passages });
    this.readyPassages += passages.length;
    this.report.documents[this.known.has(document.source) ? "changed" : "added"]++;
    const isDue = performance.now() - this.lastCommit > commitSeconds * 1000;
    if (isDue || this.readyPassages >= commitGroup) await this.commit();
  }

  /** Sees to it that the passage's state is in the store or waiting to be computed. */
  private async place(passage: Passage): Promise<NewDocument["passages"][number]> {
    const tokens = contextTokens(this.model, passage.text);
    const stateId = this.store.stateId(tokens);
    const textHash = sha256(passage.text);
    if (this.waiting.has(stateId) || (await this.store.keepState(stateId))) {
      this.report.passages.reused++;
      this.progress("encode", this.placed(), this.newPassages);
    } else {
      this.waiting.set(stateId, { tokens, textHash });
    }
    return { ...passage, tokens: tokens.length, stateId, textHash };
  }

  private async encodeWaiting(): Promise<void> {
    const { signal } = this.options;
    throwIfAborted(signal, "index");
    const start = performance.now();
    const batch = [...this.waiting];
    this.waiting = new Map();
    const states = await this.model.encodeMany(
      batch.map(([, { tokens }]) => tokens),
      { signal },
    );
    for (const [i, [stateId, { tokens, textHash }]] of batch.entries()) {
      await this.store.putState(stateId, states[i]!, { textHash });
      this.report.passages.encoded++;
      this.report.tokens += tokens.length;
    }
    const seconds = (performance.now() - start) / 1000;
    this.groupSize = Math.max(1, Math.min(encodeGroup, Math.round((batch.length * encodeSeconds) / seconds)));
    this.progress("encode", this.placed(), this.newPassages);
  }

  private async commit(): Promise<void> {
    if (this.waiting.size > 0) await this.encodeWaiting();
    if (this.ready.length > 0) await this.store.replaceDocuments(this.ready);
    this.ready = [];
    this.readyPassages = 0;
    this.lastCommit = performance.now();
  }

  private placed(): number {
    return this.report.passages.encoded + this.report.passages.reused;
  }

  private split(document: Document): Passage[] {
    return splitPassages(document.text, { ...this.settings, tokenizer: this.model.tokenizer });
  }

  private isUnchanged(document: Document): boolean {
    const known = this.known.get(document.source);
    return known?.whole === true && known.signature === this.signature(document);
  }

  /** Everything that a document's rows in the catalog depend on. */
  private signature(document: Document): string {
    return sha256(JSON.stringify([document.text, this.settings, this.model.form, this.model.fingerprint]));
  }

  private see({ source, file }: Document): void {
    if (this.seen.has(source)) {
      throw new PicasoError("bad-file", {
        where: file,
        expected: "ids that are given once",
        found: `${source} twice`,
        next: "Make the ids unique.",
      });
    }
    this.seen.add(source);
  }

  /** A file that cannot be read is put into the report and the others are indexed all the same. */
  private async reportingFailure(file: DocumentFile, read: () => Promise<void>): Promise<void> {
    try {
      await read();
    } catch (error) {
      if (!PicasoError.isInstance(error) || error.code !== "bad-file") throw error;
      this.report.failures.push({ file: file.path, error });
    }
  }

  private progress(phase: IndexProgress["phase"], done: number, total: number): void {
    this.options.onProgress?.({ phase, done, total: Math.max(done, total), tokens: this.report.tokens });
  }
}

function sha256(text: string): string {
  return createHash("sha256").update(text).digest("hex");
}
