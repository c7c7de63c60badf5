/** A Mamba-2 language model ready to run: contexts to states, and from states to logits, losses and text. */
import { availableParallelism } from "node:os";
import { dirname, join } from "node:path";
import { PicasoError, throwIfAborted } from "../errors.js";
import { resolveModelFolder } from "../hub/model-folder.js";
import type { DownloadProgress } from "../hub/settings.js";
import { assertSameModel, ContextState, type ContextStateInit, type StateShape } from "../state/context-state.js";
import { type BatchResult, runSequences, type Sequence } from "./batch.js";
import { findModelFiles } from "./checkpoint/model-files.js";
import { type CompileProgress, compileModel } from "./compile.js";
import { type Mamba2Config, stateShape } from "./config.js";
import { Decoder } from "./decode/decoder.js";
import { type Device, devices, devicesOf } from "./device.js";
import { modelFingerprint } from "./fingerprint.js";
import { loadForm, type ModelForm } from "./form.js";
import { type GeneratedPiece, type GenerateOptions, generate } from "./generate.js";
import { type GenerateManyOptions, type GenerateRequest, generateMany } from "./generate-many.js";
import { WEIGHTS_FILE } from "./mamba2-graph.js";
import { checkParameters } from "./parameters.js";
import { type WeightDtype, weightDtypes } from "./quantize.js";
import { ModelSession } from "./session.js";
import {
  type Advance,
  type AdvanceOptions,
  type Predictions,
  type RunOptions,
  type StartState,
  StateBatch,
} from "./state-batch.js";
import { Tokenizer } from "./tokenizer.js";
import type { DeviceState } from "./webgpu/device-states.js";
import type { WeightedState } from "./webgpu/sum-states.js";

export interface LoadOptions {
  /**
   * How the weights of matrices are kept and multiplied: f32, or rounded to 8 or 4 bits in blocks, which takes
   * less memory and time and changes the results a little. @default "f32"
   */
  dtype?: WeightDtype;
  /**
   * Where it runs; "webgpu" is a graphics processor. States are within 1e-3 of those of the CPU and have the same
   * fingerprint. @default "cpu"
   */
  device?: Device;
  /** Threads of the engine. @default all cores */
  threads?: number;
  /** Never asks the hub; what was downloaded before is used. @default false */
  offline?: boolean;
  onProgress?: (progress: CompileProgress | DownloadProgress) => void;
  signal?: AbortSignal;
}

export interface ForwardOptions {
  /** @default the zero state */
  state?: ContextState;
  /** Positions to give logits for. @default "last" */
  logits?: "all" | "last" | "none";
}

export interface ReadRequest {
  tokens: readonly number[];
  /** @default the zero state */
  state?: ContextState;
}

/** A sequence to score: the loss of each token from `from` on, given those before it and the state. */
export interface ScoreRequest extends ReadRequest {
  /** First token that is predicted; at least 1, since nothing predicts the first. @default 1 */
  from?: number;
}

/** See {@link LanguageModel.continueFrom}. */
export interface Continuation {
  (steps: readonly Advance[], options?: RunOptions): Promise<Predictions[]>;
  dispose(): void;
}

interface Parts {
  directory: string;
  dtype: WeightDtype;
  device: Device;
  config: Mamba2Config;
  tokenizer: Tokenizer;
  form: ModelForm;
  fingerprint: string;
  session: ModelSession;
  modelPath: string;
  threads: number;
}

export class LanguageModel {
  readonly directory: string;
  /** The form its weights have in the engine. */
  readonly dtype: WeightDtype;
  /** Where it runs. */
  readonly device: Device;
  readonly config: Mamba2Config;
  readonly tokenizer: Tokenizer;
  /** How contexts and questions are written for this model. */
  readonly form: ModelForm;
  /** Identifies weights and tokenizer: states of one fingerprint can be mixed. */
  readonly fingerprint: string;
  readonly stateShape: StateShape;
  private session: ModelSession | null;
  private readonly modelPath: string;
  private readonly threads: number;
  private decoder: Promise<Decoder | null> | null = null;

  private constructor(parts: Parts) {
    this.directory = parts.directory;
    this.dtype = parts.dtype;
    this.device = parts.device;
    this.config = parts.config;
    this.tokenizer = parts.tokenizer;
    this.form = parts.form;
    this.fingerprint = parts.fingerprint;
    this.stateShape = stateShape(parts.config);
    this.session = parts.session;
    this.modelPath = parts.modelPath;
    this.threads = parts.threads;
  }

  /**
   * Loads a model folder in Hugging Face layout, or `org/name` from the hub. The first load of a model compiles it into
   * the cache. Throws `not-found`, `bad-file`, `unsupported`, `failed` or `aborted`.
   */
  static async load(directoryOrHubId: string, options: LoadOptions = {}): Promise<LanguageModel> {
    const { dtype = "f32", device = "cpu", threads = availableParallelism(), onProgress, signal } = options;
    checkChoice("dtype", dtype, weightDtypes);
    checkChoice("device", device, devices);
    if (!devicesOf(dtype).includes(device)) {
      throw new PicasoError("unsupported", {
        where: `device ${device}`,
        expected: "weights of dtype f32",
        found: `${dtype}, whose results there would not be those of the CPU`,
        next: "Use f32, or the CPU.",
      });
    }
    if (!Number.isInteger(threads) || threads < 1) badOption("threads", "a whole number from 1", threads);
    const directory = await resolveModelFolder(directoryOrHubId, { offline: options.offline, onProgress, signal });
    const files = await findModelFiles(directory);
    const { config } = files;
    const tokenizer = await Tokenizer.load(files.tokenizerFile, config.vocabSize);
    const form = await loadForm(files.formFile, config, tokenizer);
    const source = await files.openWeights();
    let fingerprint: string;
    let modelPath: string;
    try {
      checkParameters(source, config, files.weightFiles[0]!);
      fingerprint = await modelFingerprint(files, dtype, signal);
      throwIfAborted(signal, directory);
      modelPath = await compileModel(source, config, fingerprint, { dtype, device, onProgress, signal });
    } finally {
      await source.close();
    }
    const session = await ModelSession.create(modelPath, stateShape(config), { device, threads });
    const parts = { dtype, device, config, tokenizer, form, fingerprint, session, modelPath, threads };
    return new LanguageModel({ directory: files.directory, ...parts });
  }

  /** The state before any token. */
  zeroState(): ContextState {
    return ContextState.zero(this.fingerprint, this.stateShape);
  }

  /** The state of a context, run from the zero state: x(u) and log A(u) of PICASO, section 3. */
  async encode(tokens: readonly number[], options: RunOptions = {}): Promise<ContextState> {
    return (await this.encodeMany([tokens], options))[0]!;
  }

  /** The states of many contexts, in padded batches; the same as one by one. */
  async encodeMany(contexts: readonly (readonly number[])[], options: RunOptions = {}): Promise<ContextState[]> {
    return this.readMany(
      contexts.map((tokens) => ({ tokens })),
      options,
    );
  }

  /** The states after many sequences, each read from a state of its own; the zero state by default. */
  async readMany(requests: readonly ReadRequest[], options: RunOptions = {}): Promise<ContextState[]> {
    const zero = this.zeroIfWanted(requests);
    const sequences = requests.map(({ tokens, state = zero! }) => ({ tokens, state }));
    return this.run(sequences, ({ batch, index }) => batch.state(index), options);
  }

  /**
   * Runs tokens from a state in one pass. Logits are [tokens, vocabulary] for "all", [vocabulary] for "last", empty
   * for "none".
   */
  async forward(
    tokens: readonly number[],
    { state = this.zeroState(), logits = "last" }: ForwardOptions = {},
  ): Promise<{ logits: Float32Array; state: ContextState }> {
    checkChoice("logits", logits, ["all", "last", "none"]);
    if (tokens.length === 0 && logits === "last") badOption("tokens", "one token or more to predict after", "none");
    const rows = { all: [...tokens.keys()], last: [tokens.length - 1], none: [] }[logits];
    const take = async ({ batch, index, predictions }: BatchResult) => ({
      logits: predictions.logits,
      state: await batch.state(index),
    });
    return (await this.run([{ tokens, state, rows }], take))[0]!;
  }

  /** Losses `-log p(token)` in nats of the tokens from `from` on, per request, in padded batches. */
  async score(requests: readonly ScoreRequest[], options: RunOptions = {}): Promise<Float32Array[]> {
    const zero = this.zeroIfWanted(requests);
    const sequences = requests.map(({ tokens, state = zero!, from = 1 }) => {
      if (!Number.isInteger(from) || from < 1) badOption("from", "a whole number from 1", from);
      this.checkTokens(tokens);
      const targets = tokens.slice(from);
      // The last token is only predicted, never read.
      return { tokens: tokens.slice(0, -1), state, rows: targets.map((_, i) => from - 1 + i), targets };
    });
    return this.run(sequences, ({ predictions }) => predictions.losses, { ...options, isLast: true });
  }

  /** Continues `tokens` from a state, yielding text as it becomes certain. Greedy unless a temperature is given. */
  generate(tokens: readonly number[], options: GenerateOptions = {}): AsyncGenerator<GeneratedPiece, void> {
    return generate(this, tokens, options);
  }

  /** Answers many prompts at once, greedily, in batches. */
  generateMany(requests: readonly GenerateRequest[], options: GenerateManyOptions = {}): Promise<string[]> {
    return generateMany(this, requests, options);
  }

  /**
   * States that go on together: each call of the result takes the next tokens of every sequence and predicts after
   * them; its `dispose` frees what stays on a device. What `generate` and `generateMany` are made of. With `overwrite`
   * a single state's arrays may be written to.
   */
  continueFrom(states: readonly StartState[], { overwrite }: { overwrite?: boolean } = {}): Continuation {
    const session = this.check(states.map((state) => ({ tokens: [], state })));
    const decoder = () => (this.device === "cpu" ? this.loadDecoder() : Promise.resolve(null));
    const batch = new StateBatch(session, states, { overwrite, decoder });
    const advance = (steps: readonly Advance[], options?: RunOptions) => {
      this.check(steps.map(({ tokens }, index) => ({ tokens, state: states[index]! })));
      return batch.advance(steps, options);
    };
    return Object.assign(advance, { dispose: () => batch.dispose() });
  }

  /**
   * On "webgpu", the weighted sum of recurrent states beside the rest of a composed state: what `generate` starts from
   * without its values leaving the device. States are summed in the order given.
   */
  async sumOnDevice(
    states: Iterable<WeightedState>,
    { conv, ...composed }: Omit<ContextStateInit, "ssm">,
  ): Promise<DeviceState> {
    if (this.device === "cpu") badOption("device", '"webgpu"', this.device);
    return { ...composed, values: await this.check([]).sum(states, conv) };
  }

  /** Frees the engine's memory and ends its threads; the model cannot be used afterwards. */
  async dispose(): Promise<void> {
    const { session, decoder } = this;
    this.session = null;
    this.decoder = null;
    await (await decoder?.catch(() => null))?.dispose();
    await session?.dispose();
  }

  /** One for all requests that bring none: it is as large as any state. */
  private zeroIfWanted(requests: readonly ReadRequest[]): ContextState | undefined {
    return requests.every(({ state }) => state) ? undefined : this.zeroState();
  }

  private async run<R>(
    sequences: readonly Sequence[],
    take: (result: BatchResult) => R | Promise<R>,
    options?: AdvanceOptions,
  ): Promise<R[]> {
    return runSequences(this.check(sequences), sequences, take, options);
  }

  /** At the first decoded token, so that what never decodes does without a second copy of the weights. */
  private loadDecoder(): Promise<Decoder | null> {
    this.decoder ??= Decoder.load({
      weightsPath: join(dirname(this.modelPath), WEIGHTS_FILE),
      config: this.config,
      dtype: this.dtype,
      threads: this.threads,
    }).catch((cause) => {
      this.decoder = null;
      throw cause;
    });
    return this.decoder;
  }

  /** The session, once the sequences are known to fit the model. */
  private check(sequences: readonly { tokens: readonly number[]; state: StartState }[]): ModelSession {
    for (const { tokens, state } of sequences) {
      assertSameModel({ fingerprint: this.fingerprint, shape: this.stateShape }, state, "model");
      this.checkTokens(tokens);
    }
    if (!this.session) badOption("model", "one that is loaded", "one that was disposed of");
    return this.session;
  }

  private checkTokens(tokens: readonly number[]): void {
    const { vocabSize } = this.config;
    const stranger = tokens.findIndex((id) => !Number.isInteger(id) || id < 0 || id >= vocabSize);
    if (stranger >= 0) badOption(`tokens[${stranger}]`, `a token id below ${vocabSize}`, tokens[stranger]);
  }
}

function checkChoice(option: string, value: string, choices: readonly string[]): void {
  if (!choices.includes(value)) badOption(option, choices.map((choice) => `"${choice}"`).join(" or "), value);
}

function badOption(where: string, expected: string, found: unknown): never {
  throw new PicasoError("bad-argument", { where, expected, found: String(found), next: "Give another value." });
}
