/** Text from a model and a state, token by token. */
import { PicasoError } from "../errors.js";
import type { Continuation, LanguageModel } from "./language-model.js";
import { createSampler, type SamplingOptions } from "./sampling.js";
import type { StartState } from "./state-batch.js";
import { TextStream } from "./text-stream.js";

export interface GenerateOptions extends SamplingOptions {
  /** State to start from. @default the zero state */
  state?: StartState;
  /** @default 128 */
  maxTokens?: number;
  /** Texts that end the generation; they are not part of it. @default none */
  stop?: readonly string[];
  signal?: AbortSignal;
}

export interface GeneratedPiece {
  /** Text that is certain after this token; may be empty while a character or a stop text may still be forming. */
  text: string;
  token: number;
}

/** Yields one piece per token. Ends at `maxTokens`, a stop text or the model's end-of-sequence token. */
export async function* generate(
  model: LanguageModel,
  prompt: readonly number[],
  options: GenerateOptions,
): AsyncGenerator<GeneratedPiece, void> {
  const advance = model.continueFrom([options.state ?? model.zeroState()]);
  try {
    yield* piecesBy(advance, model, prompt, options);
  } finally {
    advance.dispose();
  }
}

async function* piecesBy(
  advance: Continuation,
  model: LanguageModel,
  prompt: readonly number[],
  options: GenerateOptions,
): AsyncGenerator<GeneratedPiece, void> {
  const { maxTokens = 128, stop = [], signal } = options;
  checkGeneration(prompt, maxTokens, stop);
  const sample = createSampler(options);
  const text = new TextStream((ids) => model.tokenizer.decode(ids), stop);
  const logitsAfter = async (tokens: readonly number[]) =>
    (await advance([{ tokens, rows: [tokens.length - 1] }], { signal }))[0]!.logits;

  let logits = await logitsAfter(prompt);
  for (let count = 1; ; count++) {
    const token = sample(logits);
    const ended = model.config.eosTokenIds.includes(token);
    let piece = ended ? "" : text.push(token);
    const last = ended || text.stopped || count === maxTokens;
    if (last) piece += text.end();
    yield { text: piece, token };
    if (last) return;
    logits = await logitsAfter([token]);
  }
}

/** Throws `bad-argument` for what no generation can begin with. */
export function checkGeneration(prompt: readonly number[], maxTokens: number, stop: readonly string[]): void {
  if (!Number.isInteger(maxTokens) || maxTokens < 1) {
    refuse("maxTokens", "a whole number from 1", String(maxTokens), "Give another value.");
  }
  if (stop.includes(""))
    refuse("stop", "texts that are not empty", "an empty one, which ends every text", "Leave it out.");
  if (prompt.length === 0) {
    const next = "Give a prompt; the beginning-of-sequence token will do.";
    refuse("prompt", "one token or more to continue", "none", next);
  }
}

function refuse(where: string, expected: string, found: string, next: string): never {
  throw new PicasoError("bad-argument", { where, expected, found, next });
}
