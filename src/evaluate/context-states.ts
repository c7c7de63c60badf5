/** The states of contexts, each computed once while it stays in memory: the offline side of an evaluation. */
import { beginning } from "../model/form.js";
import type { LanguageModel } from "../model/language-model.js";
import type { Codec } from "../state/codec.js";
import { ContextState } from "../state/context-state.js";
import type { EvaluationContext } from "./query.js";

export class ContextStates {
  /** Least recently used first. */
  private readonly states = new Map<string, ContextState>();
  private readonly capacity: number;
  private readonly codec: Codec;
  /** Tokens read into states so far. */
  tokens = 0;
  seconds = 0;

  /** Keeps about `memory` bytes of states; `codec` passes each through its stored form. */
  constructor(
    private readonly model: LanguageModel,
    { memory = 2e9, codec = "f32" }: { memory?: number; codec?: Codec } = {},
  ) {
    const { ssm, conv } = model.zeroState();
    this.capacity = Math.max(64, Math.floor(memory / (ssm.byteLength + conv.byteLength)));
    this.codec = codec;
  }

  /** The states of these contexts, in their order. */
  async get(contexts: readonly EvaluationContext[], signal?: AbortSignal): Promise<ContextState[]> {
    const missing = [...new Map(contexts.map((context) => [context.id, context])).values()].filter(
      ({ id }) => !this.states.has(id),
    );
    const start = performance.now();
    const begin = beginning(this.model);
    const onTokens = (tokens: number) => {
      this.tokens += tokens;
    };
    const requests = missing.map(({ tokens }) => [...begin, ...tokens]);
    const encoded = await this.model.encodeMany(requests, { signal, onTokens });
    this.seconds += (performance.now() - start) / 1000;
    const fresh = new Map(missing.map(({ id }, i) => [id, this.stored(encoded[i]!)]));
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

  private stored(state: ContextState): ContextState {
    return this.codec === "f32" ? state : ContextState.fromBytes(state.toBytes(this.codec));
  }
}
