/**
 * What a Mamba-2 model keeps of a context: its final recurrent and convolution states, run from the zero state, and
 * its total decay. The pair (state, decay) is all that composition needs (PICASO, ICLR 2025, section 3).
 *
 * Letters: L layers, H heads, N state size, P head dimension, W convolution width kept (kernel - 1), C convolution
 * channels.
 */
import { PicasoError } from "../errors.js";
import type { Codec } from "./codec.js";
import { decodeState, encodeState } from "./state-file.js";

/** Dimensions of a state; equal for all states of a model. */
export interface StateShape {
  /** L */
  layers: number;
  /** H */
  heads: number;
  /** N */
  stateSize: number;
  /** P */
  headDim: number;
  /** W: inputs of the convolution that are kept, kernel size - 1. */
  convWidth: number;
  /** C: channels of the convolution. */
  convDim: number;
}

export interface ContextStateInit {
  /** Fingerprint of the weights and tokenizer that the state came from. */
  fingerprint: string;
  shape: StateShape;
  /** Tokens that the state stands for; a composed state counts those of all its contexts. */
  tokens: number;
  /** [L, H, N, P] */
  ssm: Float32Array;
  /** [L, W, C], oldest input first. */
  conv: Float32Array;
  /** [L, H], the sum over tokens of log a_t; never positive. */
  logDecay: Float32Array | Float64Array;
}

export class ContextState {
  readonly fingerprint: string;
  readonly shape: Readonly<StateShape>;
  readonly tokens: number;
  readonly ssm: Float32Array;
  readonly conv: Float32Array;
  readonly logDecay: Float32Array | Float64Array;

  /** Keeps the arrays it is given, without copying. Throws `mismatch` when a length does not fit the shape. */
  constructor(init: ContextStateInit) {
    const size = stateSizes(init.shape);
    for (const name of ["ssm", "conv", "logDecay"] as const) {
      if (init[name].length === size[name]) continue;
      throw new PicasoError("mismatch", {
        where: `state, ${name}`,
        expected: `${size[name]} values for shape ${describeShape(init.shape)}`,
        found: `${init[name].length}`,
        next: "Pass arrays made for this model's shape.",
      });
    }
    this.fingerprint = init.fingerprint;
    this.shape = init.shape;
    this.tokens = init.tokens;
    this.ssm = init.ssm;
    this.conv = init.conv;
    this.logDecay = init.logDecay;
  }

  /** The state before any token: all zeros, with a decay of one. */
  static zero(fingerprint: string, shape: StateShape): ContextState {
    const size = stateSizes(shape);
    return new ContextState({
      fingerprint,
      shape,
      tokens: 0,
      ssm: new Float32Array(size.ssm),
      conv: new Float32Array(size.conv),
      logDecay: new Float64Array(size.logDecay),
    });
  }

  /** The state in the bytes of a state file; `where` names them in errors. See `decodeState`. */
  static fromBytes(bytes: Uint8Array, where = "state bytes"): ContextState {
    return decodeState(bytes, where);
  }

  /** The bytes of a state file. See `encodeState`, which can also store metadata. */
  toBytes(codec: Codec = "f32"): Uint8Array {
    return encodeState(this, { codec });
  }
}

/** Number of values in each array of a state of this shape. */
export function stateSizes(shape: StateShape): { ssm: number; conv: number; logDecay: number } {
  return {
    ssm: shape.layers * shape.heads * shape.stateSize * shape.headDim,
    conv: shape.layers * shape.convWidth * shape.convDim,
    logDecay: shape.layers * shape.heads,
  };
}

/** One line for messages: `L10 H16 N128 P64 W3 C1280`. */
export function describeShape(s: StateShape): string {
  return `L${s.layers} H${s.heads} N${s.stateSize} P${s.headDim} W${s.convWidth} C${s.convDim}`;
}

/** Throws `mismatch`, naming both sides, unless the two states can be mixed. */
export function assertSameModel(
  a: Pick<ContextState, "fingerprint" | "shape">,
  b: Pick<ContextState, "fingerprint" | "shape">,
  where: string,
): void {
  const shapes = [describeShape(a.shape), describeShape(b.shape)];
  if (a.fingerprint === b.fingerprint && shapes[0] === shapes[1]) return;
  throw new PicasoError("mismatch", {
    where,
    expected: `a state of model ${a.fingerprint} with shape ${shapes[0]}`,
    found: `one of model ${b.fingerprint} with shape ${shapes[1]}`,
    next: "States only combine within one model: encode the passages again with the model you use now.",
  });
}
