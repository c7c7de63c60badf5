/**
 * A Sentence-Transformers model on ONNX Runtime: texts to embeddings, as its encode_query and encode_document give them.
 *
 * Letters: B texts of a batch, T tokens, D width of a token's vector.
 */
import { createHash } from "node:crypto";
import { availableParallelism } from "node:os";
import { basename, resolve } from "node:path";
import * as ort from "onnxruntime-node";
import { engineError, PicasoError, throwIfAborted } from "../errors.js";
import { resolveEmbedderFolder } from "../hub/embedder-folder.js";
import type { DownloadProgress } from "../hub/settings.js";
import { groupByLength } from "../model/batch.js";
import { hashFiles } from "../model/fingerprint.js";
import type { Tokenizer } from "../model/tokenizer.js";
import { type EmbedderSettings, readEmbedderFiles, type TextKind } from "./embedder-files.js";
import { normalize, pool } from "./pooling.js";

/** What to do when the engine refuses. */
const mixedFiles = "Check that config.json, tokenizer.json and the ONNX file belong to the same model.";

export interface LoadEmbedderOptions {
  /** Threads of the engine. @default all cores */
  threads?: number;
  /** Never asks the hub; what was downloaded before is used. @default false */
  offline?: boolean;
  onProgress?: (progress: DownloadProgress) => void;
  signal?: AbortSignal;
}

export interface EmbedOptions {
  /** Chooses the model's prompt. */
  kind: TextKind;
  /** Called after each batch; counts texts. */
  onProgress?: (progress: { done: number; total: number }) => void;
  signal?: AbortSignal;
}

interface Parts {
  name: string;
  fingerprint: string;
  settings: EmbedderSettings;
  tokenizer: Tokenizer;
  session: ort.InferenceSession;
}

const tokenOutputs = ["last_hidden_state", "token_embeddings"];
const knownInputs = ["input_ids", "attention_mask", "token_type_ids", "position_ids"];

export class Embedder {
  /** Name of the folder, or of the model on the hub without its organization. */
  readonly name: string;
  /** 32 hexadecimal digits of SHA-256 over all that embeddings depend on. */
  readonly fingerprint: string;
  private readonly settings: EmbedderSettings;
  private readonly tokenizer: Tokenizer;
  private readonly frame: { before: number[]; after: number[] };
  private readonly output: string;
  private session: ort.InferenceSession | null;

  private constructor(parts: Parts) {
    this.name = parts.name;
    this.fingerprint = parts.fingerprint;
    this.settings = parts.settings;
    this.tokenizer = parts.tokenizer;
    this.frame = parts.tokenizer.frame();
    this.output = tokenOutput(parts.session, parts.name);
    this.session = parts.session;
  }

  /**
   * Loads a Sentence-Transformers folder with an ONNX export, or `org/name` from the hub: a transformer, pooled, perhaps
   * normalized. Throws `not-found`, `bad-file`, `mismatch`, `unsupported`, `failed` or `aborted`.
   */
  static async load(directoryOrHubId: string, options: LoadEmbedderOptions = {}): Promise<Embedder> {
    const { threads = availableParallelism(), offline, onProgress, signal } = options;
    const directory = await resolveEmbedderFolder(directoryOrHubId, { offline, onProgress, signal });
    const { settings, tokenizer, onnxFiles, tokenizerFile } = await readEmbedderFiles(directory);
    const hash = createHash("sha256").update(JSON.stringify(settings));
    await hashFiles(hash, [...onnxFiles, tokenizerFile], signal);
    const session = await createSession(onnxFiles[0]!, threads);
    try {
      const name = basename(resolve(directoryOrHubId));
      const embedder = new Embedder({
        ...{ name, settings, tokenizer, session },
        fingerprint: hash.digest("hex").slice(0, 32),
      });
      checkRoom(embedder.frame, settings.maxTokens, directory);
      return embedder;
    } catch (error) {
      await session.release();
      throw error;
    }
  }

  /**
   * An embedding for each text, [D] each, in the order given. Texts longer than the model takes are cut. A text without
   * any token, special ones counted, has the zero vector.
   */
  async embed(texts: readonly string[], { kind, onProgress, signal }: EmbedOptions): Promise<Float32Array[]> {
    const sequences = texts.map((text) => ({ tokens: this.encode(this.settings.prompts[kind] + text) }));
    const embeddings = new Array<Float32Array>(texts.length);
    let done = 0;
    for (const group of groupByLength(sequences)) {
      throwIfAborted(signal, "embedding");
      const made = await this.run(group.map((index) => sequences[index]!.tokens));
      for (const [i, index] of group.entries()) embeddings[index] = made[i]!;
      done += group.length;
      onProgress?.({ done, total: texts.length });
    }
    return embeddings;
  }

  /** Frees the engine's memory; the embedder cannot be used afterwards. */
  async dispose(): Promise<void> {
    const { session } = this;
    this.session = null;
    await session?.release();
  }

  private encode(text: string): number[] {
    const { before, after } = this.frame;
    const { maxTokens, truncationSide } = this.settings;
    const room = maxTokens - before.length - after.length;
    const tokens = this.tokenizer.encode(text);
    const cut = truncationSide === "left" ? tokens.slice(-room) : tokens.slice(0, room);
    return [...before, ...cut, ...after];
  }

  /** Embeddings of texts as tokens, in one padded run. */
  private async run(batch: readonly (readonly number[])[]): Promise<Float32Array[]> {
    if (!this.session) throw disposed();
    const steps = Math.max(1, ...batch.map(({ length }) => length));
    const results = await this.session.run(this.feeds(batch, steps), [this.output]).catch((cause) => {
      throw engineError(`a run of ${batch.length} x ${steps} tokens`, cause, mixedFiles);
    });
    const { data, dims } = results[this.output]!;
    const { width = Number(dims[2]), pooling } = this.settings;
    if (!(data instanceof Float32Array) || `${dims}` !== `${[batch.length, steps, width]}`) {
      throw wrongOutput(
        `${this.name}, ${this.output}`,
        `[${batch.length}, ${steps}, ${width}] of float32`,
        `[${dims}]`,
      );
    }
    return batch.map(({ length }, i) => {
      if (length === 0) return new Float32Array(width);
      const start = i * steps * width;
      const embedding = pool(data.subarray(start, start + length * width), width, pooling);
      if (!embedding.every(Number.isFinite)) {
        throw wrongOutput(`${this.name}, ${this.output}`, "finite numbers", "infinity or none");
      }
      return this.settings.normalize ? normalize(embedding) : embedding;
    });
  }

  /** All inputs are [B, T]. */
  private feeds(batch: readonly (readonly number[])[], steps: number): Record<string, ort.Tensor> {
    const fill = (value: (tokens: readonly number[], step: number) => number) => {
      const values = new BigInt64Array(batch.length * steps);
      for (const [i, tokens] of batch.entries()) {
        for (let step = 0; step < steps; step++) values[i * steps + step] = BigInt(value(tokens, step));
      }
      return new ort.Tensor("int64", values, [batch.length, steps]);
    };
    const make: Record<string, () => ort.Tensor> = {
      input_ids: () => fill((tokens, step) => tokens[step] ?? this.settings.paddingId),
      attention_mask: () => fill((tokens, step) => (step < tokens.length ? 1 : 0)),
      token_type_ids: () => fill(() => 0),
      position_ids: () => fill((_, step) => step),
    };
    return Object.fromEntries(this.session!.inputNames.map((name) => [name, make[name]!()]));
  }
}

async function createSession(path: string, threads: number): Promise<ort.InferenceSession> {
  const options = { intraOpNumThreads: threads, graphOptimizationLevel: "all", logSeverityLevel: 3 } as const;
  return ort.InferenceSession.create(path, options).catch((cause) => {
    throw new PicasoError("bad-file", {
      where: path,
      expected: "an ONNX model that ONNX Runtime can load",
      found: cause instanceof Error ? cause.message : String(cause),
      next: "Download or export it again.",
      cause,
    });
  });
}

/** The output with the tokens' vectors. Throws `unsupported` for inputs and outputs of another kind of model. */
function tokenOutput(session: ort.InferenceSession, where: string): string {
  const inputs = session.inputMetadata.map((input) => `${input.name} ${input.isTensor ? input.type : "no tensor"}`);
  const known = knownInputs.map((name) => `${name} int64`);
  const needed = known.slice(0, 2);
  if (!inputs.every((input) => known.includes(input)) || !needed.every((input) => inputs.includes(input))) {
    throw unsupported(`${where}, inputs`, `${needed.join(", ")} and no others than ${known.join(", ")}`, inputs);
  }
  const outputs = session.outputMetadata.filter((output) => output.isTensor && output.type === "float32");
  const named = outputs.find(({ name }) => tokenOutputs.includes(name));
  if (named) return named.name;
  const found = session.outputMetadata.map(({ name }) => name);
  throw unsupported(`${where}, outputs`, `${tokenOutputs.join(" or ")} of float32`, found);
}

function checkRoom({ before, after }: { before: number[]; after: number[] }, maxTokens: number, where: string): void {
  const special = before.length + after.length;
  if (special < maxTokens) return;
  throw new PicasoError("bad-file", {
    where: `${where}, max_seq_length`,
    expected: `more than the ${special} special tokens around a text`,
    found: `${maxTokens}`,
    next: "Check that the files belong together.",
  });
}

function unsupported(where: string, expected: string, found: readonly string[]): PicasoError {
  const next = "Export the transformer of the model to ONNX in full precision, without pooling.";
  return new PicasoError("unsupported", { where, expected, found: found.join(", ") || "none", next });
}

function wrongOutput(where: string, expected: string, found: string): PicasoError {
  const next = "Check that the ONNX file belongs to this model and is in full precision.";
  return new PicasoError("mismatch", { where, expected, found, next });
}

function disposed(): PicasoError {
  return new PicasoError("bad-argument", {
    where: "embedder",
    expected: "one that is loaded",
    found: "one that was disposed",
    next: "Load it again.",
  });
}
