/** The states of contexts, each computed once while it stays in memory: the offline side of an evaluation. */
import { compose } from "../compose/compose.js";
import { beginning } from "../model/form.js";
import type { LanguageModel } from "../model/language-model.js";
import type { Codec } from "../state/codec.js";
import { ContextState } from "../state/context-state.js";
import type { EvaluationContext } from "./query.js";

export interface ContextStatesOptions {
  /** Bytes. @default 2e9 */
  memory?: number;
  /** @default "f32" */
  codec?: Codec;
  /** @default the model's beginning of sequence */
  beginning?: readonly number[];
}

export class ContextStates {
  /** Least recently used first. */
  private readonly states = new Map<string, ContextState>();
  private readonly means = new WeakMap<readonly EvaluationContext[], Promise<ContextState>>();
  private readonly capacity: number;
  private readonly codec: Codec;
  /** Tokens before every context, and before a prompt without contexts. */
  readonly beginning: readonly number[];

  /** Keeps about `memory` bytes of states; {@link stored} passes them through `codec`. */
  constructor(
    private readonly model: LanguageModel,
    { memory = 2e9, codec = "f32", beginning: begin = beginning(model) }: ContextStatesOptions = {},
  ) {
    const { ssm, conv } = model.zeroState();
    this.capacity = Math.max(64, Math.floor(memory / (ssm.byteLength + conv.byteLength)));
    this.codec = codec;
    this.beginning = begin;
  }

  /** The states of these contexts as they were read, in their order. */
  async get(contexts: readonly EvaluationContext[], signal?: AbortSignal): Promise<ContextState[]> {
    const missing = [...new Map(contexts.map((context) => [context.id, context])).values()].filter(
      ({ id }) => !this.states.has(id),
    );
    const fresh = new Map<string, ContextState>();
    // One by one: in a batch the last digit can depend on what else is in it, and so on what was known before.
    for (const { id, tokens } of missing) {
      fresh.set(id, await this.model.encode([...this.beginning, ...tokens], { signal }));
    }
    const found = contexts.map(({ id }) => fresh.get(id) ?? this.states.get(id)!);
    for (const [i, { id }] of contexts.entries()) {
      this.states.delete(id);
      this.states.set(id, found[i]!);
    }
    for (const id of this.states.keys()) {
      if (this.states.size <= this.capacity) break;
      this.states.delete(id);
    }
    return found;
  }

  /** The mean state of a sample of contexts, computed once. */
  mean(sample: readonly EvaluationContext[], signal?: AbortSignal): Promise<ContextState> {
    const known = this.means.get(sample);
    const mean = known ?? this.get(sample, signal).then((states) => compose(states, "soup"));
    this.means.set(sample, mean);
    return mean;
  }

  /** Whether what comes out of the database differs from what was read. */
  get isLossy(): boolean {
    return this.codec !== "f32";
  }

  /** A state as the database would give it back. */
  stored(state: ContextState): ContextState {
    return this.isLossy ? ContextState.fromBytes(state.toBytes(this.codec)) : state;
  }
}
