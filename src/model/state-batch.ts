/**
 * B states that go through the session together, each with its own tokens: padded to one length, and in segments where
 * they are long. Padding changes nothing: it has no time step.
 *
 * Letters: B batch, T tokens, M scored positions, L layers, H heads, W convolution width kept.
 */
import { PicasoError, throwIfAborted } from "../errors.js";
import { ContextState, type StateShape } from "../state/context-state.js";
import type { Decoder, HeldState, StateOwner } from "./decode/decoder.js";
import { type BatchState, batchState, cut, type ModelSession, type PackedBatchState } from "./session.js";
import { type DeviceState, DeviceStates } from "./webgpu/device-states.js";

/** Where a sequence can start. One on the device goes alone in its batch. */
export type StartState = ContextState | DeviceState;

/** Tokens of one sequence that a run takes at most: bounds the memory of activations, about 40 kB a token at D = 768. */
export const SEGMENT_TOKENS = 512;

/** What a sequence reads next, and where it predicts. */
export interface Advance {
  tokens: readonly number[];
  /** Positions in `tokens` after which to predict, ascending. @default none */
  rows?: readonly number[];
  /** The tokens to be predicted at `rows`: losses are wanted instead of logits. All sequences have them or none. */
  targets?: readonly number[];
}

export interface Predictions {
  /** [rows, vocabulary] where rows were given without targets. */
  logits: Float32Array;
  /** [rows], -log p(target), where targets were given. */
  losses: Float32Array;
}

export interface RunOptions {
  signal?: AbortSignal;
  /** Called with the number of tokens that have gone through. */
  onTokens?: (tokens: number) => void;
}

export interface AdvanceOptions extends RunOptions {
  /** Nobody wants the states behind these tokens, and the batch is over: a run that writes none is shorter. */
  isLast?: boolean;
}

/** Gives the decoder, loaded at the first call; null where the model has none. */
export type DecoderSource = () => Promise<Decoder | null>;

export interface StateBatchOptions {
  overwrite?: boolean;
  memory?: Float32Array;
  decoder?: DecoderSource;
}

export class StateBatch {
  private readonly shape: StateShape;
  private readonly logDecay: Float64Array[];
  private readonly tokens: number[];
  private readonly decoder: DecoderSource;
  /** Where the sequences stand: the given states before the first run, `own` after it. */
  private past: BatchState | DeviceStates;
  /** The states of this batch on the CPU, where every run writes them in place. */
  private own: PackedBatchState | undefined;
  /** After a run whose states were not kept. */
  private isOver = false;
  /** What the decoder calls when the state goes there and comes back, once one has been used. */
  private decoding: { decoder: Decoder; owner: StateOwner } | null = null;
  /** Logits of the last token that was decoded. */
  private logits = new Float32Array(0);

  /**
   * The given states are only read; a single one is overwritten where that is allowed, which saves finding memory. Two or
   * more are copied into `memory` if it is given, which is then this batch's. `decoder` reads single tokens of a single
   * sequence where their logits are wanted; by default the session does.
   */
  constructor(
    private readonly session: ModelSession,
    private readonly initial: readonly StartState[],
    { overwrite = false, memory, decoder = async () => null }: StateBatchOptions = {},
  ) {
    this.decoder = decoder;
    this.shape = initial[0]!.shape;
    this.logDecay = initial.map((state) => Float64Array.from(state.logDecay));
    this.tokens = initial.map((state) => state.tokens);
    const [first] = initial as [StartState];
    if (initial.length > 1) this.own = gather(initial.map(onCpu), this.shape, memory);
    else if (overwrite && first instanceof ContextState) {
      this.own = { ssmAll: first.ssm, ssm: cut(first.ssm, this.shape.layers), conv: first.conv };
    }
    this.past = this.own ?? valuesOf(first);
  }

  /**
   * Runs each sequence's tokens from its state, and moves the state behind them. Once it has failed, the batch is lost.
   * Logits after a single token of a single sequence are overwritten by the next call.
   */
  async advance(steps: readonly Advance[], options: AdvanceOptions = {}): Promise<Predictions[]> {
    this.assertKept();
    const decoder = isDecoding(steps) ? await this.decoder() : null;
    if (decoder) return [await this.decode(decoder, steps[0]!.tokens[0]!, options)];
    this.leaveDecoder();
    const longest = Math.max(...steps.map(({ tokens }) => tokens.length));
    const parts = steps.map(() => ({ logits: [] as Float32Array[], losses: [] as Float32Array[] }));
    for (let start = 0; start < longest; start += SEGMENT_TOKENS) {
      throwIfAborted(options.signal, "model");
      const segment = packSegment(steps, start, Math.min(SEGMENT_TOKENS, longest - start));
      this.isOver = options.isLast === true && start + SEGMENT_TOKENS >= longest;
      const present = this.isOver || this.session.keepsStates ? undefined : this.room();
      const outputs = await this.session.run({ ...segment, past: this.past, present });
      const next = outputs.kept ?? present;
      if (next) this.moveTo(next);
      this.accumulate(outputs.logDecay);
      distribute(segment.rowCounts, outputs, parts);
      options.onTokens?.(segment.tokenCount);
    }
    for (const [index, { tokens }] of steps.entries()) this.tokens[index]! += tokens.length;
    return parts.map(({ logits, losses }) => ({ logits: join(logits), losses: join(losses) }));
  }

  private async decode(decoder: Decoder, token: number, { signal, onTokens }: RunOptions): Promise<Predictions> {
    this.decoding ??= { decoder, owner: this.ownerOfState() };
    const { owner } = this.decoding;
    const use = (logits: Float32Array, logDecay: Float32Array) => {
      if (this.logits.length === 0) this.logits = new Float32Array(logits.length);
      // Out of memory that the decoder shares with all that it decodes: 0.2% of a token's time.
      this.logits.set(logits);
      this.accumulate(logDecay);
    };
    await decoder.read(owner, token, use, signal);
    this.tokens[0]!++;
    onTokens?.(1);
    return { logits: this.logits, losses: new Float32Array(0) };
  }

  private ownerOfState(): StateOwner {
    return {
      moveTo: ({ ssm, conv }: HeldState) => {
        // Models on another device have no decoder.
        const past = this.past as BatchState;
        let at = 0;
        for (const layer of past.ssm) {
          ssm.set(layer, at);
          at += layer.length;
        }
        conv.set(past.conv);
      },
      takeBack: ({ ssm, conv }: HeldState) => {
        const own = this.room();
        own.ssmAll.set(ssm);
        own.conv.set(conv);
        this.past = own;
      },
    };
  }

  private leaveDecoder(): void {
    this.decoding?.decoder.release(this.decoding.owner);
  }

  /** The state of one sequence. For B = 1 it is not a copy, and the next `advance` overwrites it. */
  async state(index: number): Promise<ContextState> {
    this.assertKept();
    this.decoding?.decoder.copyBack(this.decoding.owner);
    const values = await this.valuesHere();
    return new ContextState({
      fingerprint: this.initial[index]!.fingerprint,
      shape: this.shape,
      tokens: this.tokens[index]!,
      ...this.extract(index, values),
      logDecay: this.logDecay[index]!.slice(),
    });
  }

  /** Frees what it has on the device or in the decoder, which else copies its state when another comes. */
  dispose(): void {
    this.decoding?.decoder.forget(this.decoding.owner);
    const isGiven = this.initial.some((state) => valuesOf(state) === this.past);
    if (this.past instanceof DeviceStates && !isGiven) this.past.dispose();
  }

  private assertKept(): void {
    if (this.isOver) throw new Error("the batch is over: its states were not kept");
  }

  private room(): PackedBatchState {
    this.own ??= batchState(this.shape, this.initial.length);
    return this.own;
  }

  private moveTo(states: BatchState | DeviceStates): void {
    this.dispose();
    this.past = states;
  }

  /** The states, brought to the CPU where they are not there. */
  private async valuesHere(): Promise<BatchState> {
    if (!(this.past instanceof DeviceStates)) return this.past;
    const own = this.room();
    await this.session.read(this.past, own);
    this.moveTo(own);
    return own;
  }

  private extract(index: number, { ssm, conv }: BatchState): { ssm: Float32Array; conv: Float32Array } {
    const { length } = this.initial;
    if (length === 1) return { ssm: this.own?.ssmAll ?? onCpu(this.initial[0]!).ssm, conv };
    const own = new Float32Array(this.room().ssmAll.length / length);
    const part = own.length / this.shape.layers;
    for (const [layer, values] of ssm.entries()) {
      own.set(values.subarray(index * part, (index + 1) * part), layer * part);
    }
    const size = conv.length / length;
    return { ssm: own, conv: conv.slice(index * size, (index + 1) * size) };
  }

  /** Adds a run's log decays, [B, L, H], to each sequence's [L, H], in float64. */
  private accumulate(run: Float32Array): void {
    for (const [index, total] of this.logDecay.entries()) {
      const start = index * total.length;
      for (let i = 0; i < total.length; i++) total[i]! += run[start + i]!;
    }
  }
}

function valuesOf(state: StartState): BatchState | DeviceStates {
  if (!(state instanceof ContextState)) return state.values;
  return { ssm: cut(state.ssm, state.shape.layers), conv: state.conv };
}

function onCpu(state: StartState): ContextState {
  if (state instanceof ContextState) return state;
  throw new PicasoError("bad-argument", {
    where: "state on the device",
    expected: "to be generated from, one at a time",
    found: "another use of it",
    next: "Compose with `compose` for everything else.",
  });
}

/** Whether it is one token of one sequence, whose logits are wanted. */
function isDecoding(steps: readonly Advance[]): boolean {
  const [step, ...others] = steps;
  return others.length === 0 && step?.tokens.length === 1 && step.rows?.length === 1 && !step.targets;
}

/** Copies of the states side by side, layer by layer for ssm. */
function gather(states: readonly ContextState[], shape: StateShape, memory?: Float32Array): PackedBatchState {
  const batch = batchState(shape, states.length, memory);
  for (const [index, { ssm, conv }] of states.entries()) {
    for (const [layer, values] of cut(ssm, shape.layers).entries())
      batch.ssm[layer]!.set(values, index * values.length);
    batch.conv.set(conv, index * conv.length);
  }
  return batch;
}

/** The inputs of one run: tokens `[start, start + length)` of each sequence, and what of its rows falls there. */
function packSegment(steps: readonly Advance[], start: number, length: number) {
  const tokens = new BigInt64Array(steps.length * length);
  const lengths = new BigInt64Array(steps.length);
  const rows: number[] = [];
  const targets: number[] = [];
  const rowCounts: number[] = [];
  let tokenCount = 0;
  for (const [index, step] of steps.entries()) {
    const end = Math.min(step.tokens.length, start + length);
    for (let t = start; t < end; t++) tokens[index * length + t - start] = BigInt(step.tokens[t]!);
    lengths[index] = BigInt(Math.max(0, end - start));
    tokenCount += Math.max(0, end - start);
    const before = rows.length;
    for (const [i, row] of (step.rows ?? []).entries()) {
      if (row < start || row >= end) continue;
      rows.push(index * length + row - start);
      if (step.targets) targets.push(step.targets[i]!);
    }
    rowCounts.push(rows.length - before);
  }
  const isScored = steps.some((step) => step.targets);
  return {
    tokens,
    lengths,
    rows: BigInt64Array.from(rows, BigInt),
    ...(isScored && { targets: BigInt64Array.from(targets, BigInt) }),
    rowCounts,
    tokenCount,
  };
}

/** Gives each sequence its part of a run's predictions. */
function distribute(
  rowCounts: readonly number[],
  outputs: Predictions,
  parts: readonly { logits: Float32Array[]; losses: Float32Array[] }[],
): void {
  const total = rowCounts.reduce((a, b) => a + b, 0);
  if (total === 0) return;
  const width = outputs.logits.length / total;
  let row = 0;
  for (const [index, count] of rowCounts.entries()) {
    if (outputs.losses.length > 0) parts[index]!.losses.push(outputs.losses.subarray(row, row + count));
    else parts[index]!.logits.push(outputs.logits.subarray(row * width, (row + count) * width));
    row += count;
  }
}

function join(parts: readonly Float32Array[]): Float32Array {
  if (parts.length === 1) return parts[0]!;
  const whole = new Float32Array(parts.reduce((total, part) => total + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}
