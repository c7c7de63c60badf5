/** Greedy answers to many prompts, which decode together: one product per layer serves the whole batch. */
import type { ContextState } from "../state/context-state.js";
import { groupByLength, mostSequences } from "./batch.js";
import { checkGeneration } from "./generate.js";
import type { Continuation, LanguageModel } from "./language-model.js";
import { likeliest } from "./sampling.js";
import type { RunOptions } from "./state-batch.js";
import { TextStream } from "./text-stream.js";

export interface GenerateRequest {
  /** One token or more. */
  tokens: readonly number[];
  /** @default the zero state */
  state?: ContextState;
}

export interface GenerateManyOptions extends RunOptions {
  /** @default 32 */
  maxTokens?: number;
  /** Texts that end an answer; they are not part of it. @default none */
  stop?: readonly string[];
}

/** The texts that greedy `generate` would give one by one, in the order of the requests. */
export async function generateMany(
  model: LanguageModel,
  requests: readonly GenerateRequest[],
  { maxTokens = 32, stop = [], ...options }: GenerateManyOptions,
): Promise<string[]> {
  for (const { tokens } of requests) checkGeneration(tokens, maxTokens, stop);
  const texts = new Array<string>(requests.length);
  for (const group of groupByLength(requests, mostSequences(model.stateShape))) {
    const members = group.map((index) => requests[index]!);
    const advance = model.continueFrom(members.map(({ state = model.zeroState() }) => state));
    const answers = await generateGroup(advance, model, members, { maxTokens, stop, ...options }).finally(() =>
      advance.dispose(),
    );
    for (const [i, index] of group.entries()) texts[index] = answers[i]!;
  }
  return texts;
}

async function generateGroup(
  advance: Continuation,
  model: LanguageModel,
  requests: readonly GenerateRequest[],
  { maxTokens, stop, ...options }: Required<Pick<GenerateManyOptions, "maxTokens" | "stop">> & RunOptions,
): Promise<string[]> {
  const streams = requests.map(() => new TextStream((ids) => model.tokenizer.decode(ids), stop));
  const texts = requests.map(() => "");
  const finished = requests.map(() => false);
  let next: readonly (readonly number[])[] = requests.map(({ tokens }) => tokens);
  for (let count = 1; !finished.every(Boolean); count++) {
    // A finished sequence reads and predicts nothing more; it only fills its place in the batch.
    const steps = next.map((tokens, i) => (finished[i] ? { tokens: [] } : { tokens, rows: [tokens.length - 1] }));
    const predictions = await advance(steps, options);
    next = predictions.map(({ logits }, i) => {
      if (finished[i]) return [];
      const token = likeliest(logits);
      const isEnd = model.config.eosTokenIds.includes(token);
      if (!isEnd) texts[i] += streams[i]!.push(token);
      finished[i] = isEnd || streams[i]!.stopped || count === maxTokens;
      if (finished[i]) texts[i] += streams[i]!.end();
      return [token];
    });
  }
  return texts;
}
