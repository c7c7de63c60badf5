/**
 * A Mamba-2 checkpoint's config.json (Hugging Face keys), read strictly: every number that a shape depends on is
 * checked before anything is allocated by it.
 */
import { PicasoError } from "../errors.js";
import type { StateShape } from "../state/context-state.js";
import { describeJson } from "./json.js";

export interface Mamba2Config {
  vocabSize: number;
  /** D */
  hiddenSize: number;
  /** L */
  layers: number;
  /** H */
  heads: number;
  /** P */
  headDim: number;
  /** N */
  stateSize: number;
  /** G: sets of B and C, each shared by heads / groups consecutive heads. */
  groups: number;
  /**
   * Parts of the inner width that the gated norm normalises each on its own. Absent where there is one, so that the
   * fingerprints of such models, which are made of this, stay what they were.
   */
  normGroups?: number;
  /** heads x headDim */
  innerSize: number;
  convKernel: number;
  /** Channels of the convolution: innerSize + 2 x groups x stateSize. */
  convDim: number;
  epsilon: number;
  timeStepLimit: readonly [number, number];
  useBias: boolean;
  useConvBias: boolean;
  tiedEmbeddings: boolean;
  bosTokenId: number | null;
  eosTokenIds: number[];
}

/** Sizes above these are taken for damage: the largest Mamba-2 released has 64 layers, width 4096, vocabulary 50,288. */
const limits = { layers: 1024, width: 1 << 20, vocabulary: 1 << 24 };

/**
 * Parses JSON in which Python may have written bare `Infinity`, `-Infinity` and `NaN` (not JSON, but what
 * `json.dumps` writes). Strings are left alone.
 */
export function parsePythonJson(text: string, where: string): unknown {
  // The closing quote is optional so that text without one is passed over once, not once per quote in it.
  const portable = text.replace(/"(?:[^"\\]|\\.)*"?|-?\bInfinity\b|\bNaN\b/gs, (token) =>
    token.startsWith('"') ? token : `{"__float__":"${token}"}`,
  );
  try {
    return JSON.parse(portable);
  } catch (cause) {
    throw new PicasoError("bad-file", {
      where,
      expected: "JSON",
      found: cause instanceof Error ? cause.message : String(cause),
      next: "Download the file again.",
      cause,
    });
  }
}

/** Reads config.json's text; `where` names the file in errors. Throws `bad-file` or `unsupported`. */
export function parseMamba2Config(text: string, where: string): Mamba2Config {
  return mamba2Config(parsePythonJson(text, where), where);
}

/** Reads a parsed config with Hugging Face's keys. */
export function mamba2Config(value: unknown, where: string): Mamba2Config {
  const fields = new Fields(value, where);
  const type = fields.get("model_type");
  if (type !== "mamba2") {
    throw new PicasoError("unsupported", {
      where: `${where}, model_type`,
      expected: '"mamba2"',
      found: describeJson(type),
      next: "Use a Mamba-2 checkpoint; other architectures have no state that composes this way.",
    });
  }
  const hiddenSize = fields.integer("hidden_size", 1, limits.width);
  const heads = fields.integer("num_heads", 1, limits.width);
  const headDim = fields.integer("head_dim", 1, limits.width);
  const stateSize = fields.integer("state_size", 1, limits.width);
  const groups = fields.integer("n_groups", 1, limits.width);
  const innerSize = heads * headDim;
  const expand = fields.number("expand", 2);
  if (Math.floor(expand * hiddenSize) !== innerSize) {
    fields.fail("expand", `num_heads x head_dim = ${innerSize} to be expand x hidden_size`, `${expand * hiddenSize}`);
  }
  if (heads % groups !== 0) fields.fail("n_groups", `a divisor of num_heads = ${heads}`, `${groups}`);
  const normGroups = fields.get("norm_groups") === undefined ? 1 : fields.integer("norm_groups", 1, limits.width);
  if (innerSize % normGroups !== 0) fields.fail("norm_groups", `a divisor of ${innerSize}`, `${normGroups}`);
  const activation = fields.get("hidden_act") ?? "silu";
  if (activation !== "silu" && activation !== "swish") fields.fail("hidden_act", '"silu"', describeJson(activation));
  const vocabSize = fields.integer("vocab_size", 1, limits.vocabulary);
  return {
    vocabSize,
    hiddenSize,
    layers: fields.integer("num_hidden_layers", 1, limits.layers),
    heads,
    headDim,
    stateSize,
    groups,
    ...(normGroups > 1 && { normGroups }),
    innerSize,
    convKernel: fields.integer("conv_kernel", 2, 64),
    convDim: innerSize + 2 * groups * stateSize,
    epsilon: fields.number("layer_norm_epsilon", 1e-5),
    timeStepLimit: fields.interval("time_step_limit"),
    useBias: fields.boolean("use_bias", false),
    useConvBias: fields.boolean("use_conv_bias", true),
    tiedEmbeddings: fields.boolean("tie_word_embeddings", false),
    bosTokenId: fields.tokenIds("bos_token_id", vocabSize)[0] ?? null,
    eosTokenIds: fields.tokenIds("eos_token_id", vocabSize),
  };
}

export function stateShape(config: Mamba2Config): StateShape {
  return {
    layers: config.layers,
    heads: config.heads,
    stateSize: config.stateSize,
    headDim: config.headDim,
    convWidth: config.convKernel - 1,
    convDim: config.convDim,
  };
}

/** Typed access to the fields of a JSON object, with errors that name the file and the field. */
class Fields {
  private readonly object: Record<string, unknown>;

  constructor(
    value: unknown,
    private readonly where: string,
  ) {
    if (typeof value !== "object" || value === null || Array.isArray(value)) {
      this.fail("top level", "a JSON object", describeJson(value));
    }
    this.object = value as Record<string, unknown>;
  }

  get(key: string): unknown {
    return Object.hasOwn(this.object, key) ? this.object[key] : undefined;
  }

  fail(key: string, expected: string, found: string): never {
    throw new PicasoError("bad-file", {
      where: `${this.where}, ${key}`,
      expected,
      found,
      next: "Check that the file belongs to this checkpoint and is complete.",
    });
  }

  integer(key: string, least: number, most: number): number {
    const value = this.get(key);
    if (typeof value === "number" && Number.isInteger(value) && value >= least && value <= most) return value;
    return this.fail(key, `an integer from ${least} to ${most}`, describeJson(value));
  }

  number(key: string, otherwise: number): number {
    const value = this.get(key) ?? otherwise;
    if (typeof value === "number" && value > 0 && Number.isFinite(value)) return value;
    return this.fail(key, "a positive number", describeJson(value));
  }

  boolean(key: string, otherwise: boolean): boolean {
    const value = this.get(key) ?? otherwise;
    if (typeof value === "boolean") return value;
    return this.fail(key, "true or false", describeJson(value));
  }

  /** Token ids given as one number, a list or null. */
  tokenIds(key: string, vocabSize: number): number[] {
    const value = this.get(key) ?? [];
    const ids = Array.isArray(value) ? value : [value];
    if (ids.every((id) => Number.isInteger(id) && id >= 0 && id < vocabSize)) return ids;
    return this.fail(key, `a token id below vocab_size = ${vocabSize} or a list of them`, describeJson(value));
  }

  /** Two bounds, lower first; the upper may be infinite in either spelling. */
  interval(key: string): [number, number] {
    const value = this.get(key) ?? [0, { __float__: "Infinity" }];
    const bounds = Array.isArray(value) ? value.map(readFloat) : [];
    const [low, high] = bounds;
    if (low !== undefined && high !== undefined && bounds.length === 2) {
      if (low >= 0 && low <= high && low < Number.POSITIVE_INFINITY) return [low, high];
    }
    return this.fail(key, "two numbers, lower first, such as [0.0, Infinity]", describeJson(value));
  }
}

/** A JSON number, or transformers 5's `{"__float__": "Infinity"}`. */
function readFloat(value: unknown): number | undefined {
  if (typeof value === "number") return value;
  if (typeof value !== "object" || value === null || !("__float__" in value)) return undefined;
  return value.__float__ === "Infinity" ? Number.POSITIVE_INFINITY : undefined;
}
