/**
 * The online line: question -> passages -> states -> one composed state -> answer. The raw passages are read again only
 * by `concat`, the baseline.
 */
import { composeStored } from "../compose/node/compose-stored.js";
import { StoredState } from "../compose/node/stored-state.js";
import { type CompositionMethod, compositionWeights, meanWeights } from "../compose/weights.js";
import { PicasoError } from "../errors.js";
import { beginning, passageTokens, questionTokens } from "../model/form.js";
import type { LanguageModel } from "../model/language-model.js";
import type { SamplingOptions } from "../model/sampling.js";
import type { ContextState } from "../state/context-state.js";
import type { StateStore, StoredPassage } from "../store/store.js";
import { modelOf } from "./model-of.js";

/** How the passages reach the model; `concat` reads their text, `none` leaves them out. */
export type AnswerMethod = CompositionMethod | "concat" | "none";

export const answerMethods: readonly AnswerMethod[] = ["picaso-r", "picaso-s", "caso", "soup", "concat", "none"];

export interface AskOptions extends SamplingOptions {
  /** Passages to retrieve. @default 4 */
  k?: number;
  /** @default "picaso-r" */
  method?: AnswerMethod;
  /** Ids of passages to use, in this order, instead of retrieving any. */
  contexts?: readonly string[];
  /** @default 64 */
  maxTokens?: number;
  /** Receives the answer's text as it comes. */
  onText?: (text: string) => void;
  signal?: AbortSignal;
}

export interface AnswerContext {
  id: string;
  source: string;
  /** Of the retrieval; null for passages named by the caller. */
  score: number | null;
  text: string;
  /** Mean of the composition's weights over layers and heads; null where nothing was composed. */
  weight: number | null;
}

export interface Answer {
  answer: string;
  method: AnswerMethod;
  k: number;
  contexts: AnswerContext[];
  tokens: { contexts: number; prompt: number; generated: number };
  /** Milliseconds. First token and total count from the call. */
  timings: {
    retrieveMs: number;
    loadMs: number;
    composeMs: number;
    prefillMs: number;
    firstTokenMs: number;
    totalMs: number;
  };
}

/** For each model a composed state that is no longer needed: the next question's takes its memory. */
const spare = new WeakMap<LanguageModel, ContextState>();

interface Context extends AnswerContext {
  passage: StoredPassage;
}

/**
 * Answers a question from the store's passages. The methods that depend on order (`caso`, `concat`) take retrieved
 * passages from the least to the most relevant, so that the best one stands next to the question.
 */
export async function ask(
  store: StateStore<LanguageModel>,
  question: string,
  options: AskOptions = {},
): Promise<Answer> {
  const { method = "picaso-r", k = options.contexts?.length ?? 4 } = options;
  checkRequest(question, method, k, options.contexts);
  const model = modelOf(store);
  const clock = new Clock();

  const contexts = method === "none" ? [] : await retrieve(store, question, k, options.contexts);
  clock.lap("retrieveMs");
  const ordered = (options.contexts ? contexts : contexts.toReversed()).map(({ passage }) => passage);
  const isComposed = method !== "concat" && contexts.length > 0;
  const composed = isComposed ? composePassages(store, ordered, method as CompositionMethod, clock) : undefined;

  const prompt = promptTokens(model, method, ordered, question);
  const generated = await generateAnswer(model, prompt, composed?.state, options, clock);
  if (composed) spare.set(model, composed.state);
  if (composed) setWeights(contexts, ordered, composed.logDecays, method as CompositionMethod);
  return {
    answer: generated.text.trim(),
    method,
    k,
    contexts: contexts.map(({ passage: _, ...context }) => context),
    tokens: {
      contexts: ordered.reduce((total, { tokens }) => total + tokens, 0),
      prompt: prompt.length,
      generated: generated.tokens,
    },
    timings: clock.timings,
  };
}

async function retrieve(
  store: StateStore<LanguageModel>,
  question: string,
  k: number,
  ids: readonly string[] | undefined,
): Promise<Context[]> {
  const found = ids
    ? (await store.get(ids)).map((passage) => ({ passage, score: null }))
    : await store.search(question, { k });
  return found.map(({ passage, score }) => {
    const { id, source, text } = passage;
    return { id, source, score, text, weight: null, passage };
  });
}

interface Composed {
  state: ContextState;
  logDecays: StoredState["logDecay"][];
}

/**
 * The passages' states, opened and composed; the large parts are read while they are summed. On the CPU also for models
 * on another device: one state is uploaded then, not all.
 */
function composePassages(
  store: StateStore<LanguageModel>,
  passages: readonly StoredPassage[],
  method: CompositionMethod,
  clock: Clock,
): Composed {
  const states: StoredState[] = [];
  try {
    for (const passage of passages) states.push(store.openState(passage, StoredState.open));
    clock.lap("loadMs");
    const model = modelOf(store);
    const reuse = spare.get(model);
    // Taken: another question may be asked before this one is answered.
    spare.delete(model);
    const state = composeStored(states, method, { reuse });
    clock.lap("composeMs");
    return { state, logDecays: states.map(({ logDecay }) => logDecay) };
  } finally {
    for (const state of states) state.close();
  }
}

/** What the model reads before it answers: the question, and for `concat` the passages before it. */
function promptTokens(
  model: LanguageModel,
  method: AnswerMethod,
  passages: StoredPassage[],
  question: string,
): number[] {
  if (passages.length === 0) return questionTokens(model, question, { first: true });
  if (method !== "concat") return questionTokens(model, question);
  const joined = passages.flatMap(({ text }) => passageTokens(model, text));
  return [...beginning(model), ...joined, ...questionTokens(model, question)];
}

async function generateAnswer(
  model: LanguageModel,
  prompt: number[],
  state: ContextState | undefined,
  options: AskOptions,
  clock: Clock,
): Promise<{ text: string; tokens: number }> {
  const { maxTokens = 64, onText, temperature, topK, topP, seed, signal } = options;
  const sampling = { temperature, topK, topP, seed };
  let text = "";
  let tokens = 0;
  for await (const piece of model.generate(prompt, { state, maxTokens, stop: model.form.stop, signal, ...sampling })) {
    if (tokens++ === 0) clock.lap("prefillMs");
    text += piece.text;
    if (piece.text) onText?.(piece.text);
  }
  clock.stop();
  return { text, tokens };
}

/** Notes what each passage's states counted for. Done after the answer: the answer does not need it. */
function setWeights(
  contexts: Context[],
  ordered: StoredPassage[],
  logDecays: StoredState["logDecay"][],
  method: CompositionMethod,
): void {
  const weights = meanWeights(compositionWeights(logDecays, method));
  for (const context of contexts) context.weight = weights[ordered.indexOf(context.passage)]!;
}

function checkRequest(question: string, method: string, k: number, contexts: readonly string[] = []): void {
  const fail = (where: string, expected: string, found: unknown, next = "Ask again with another value."): never => {
    throw new PicasoError("bad-argument", { where, expected, found: String(found), next });
  };
  if (question.trim() === "") fail("question", "some words", "none", 'Ask something, such as "Who built the bridge?".');
  const twice = contexts.find((id, i) => contexts.indexOf(id) !== i);
  if (twice !== undefined) fail("contexts", "each passage once", `${twice} twice`, "Name every passage once.");
  if (!answerMethods.includes(method as AnswerMethod)) fail("method", `one of ${answerMethods.join(", ")}`, method);
  if (!Number.isInteger(k) || k < 1) fail("k", "a whole number from 1", k);
}

/** Times the stages of an answer. */
class Clock {
  readonly timings = { retrieveMs: 0, loadMs: 0, composeMs: 0, prefillMs: 0, firstTokenMs: 0, totalMs: 0 };
  private readonly start = performance.now();
  private last = this.start;

  /** Books the time since the last lap on a stage; the prefill ends with the first token. */
  lap(stage: "retrieveMs" | "loadMs" | "composeMs" | "prefillMs"): void {
    const now = performance.now();
    this.timings[stage] = now - this.last;
    if (stage === "prefillMs") this.timings.firstTokenMs = now - this.start;
    this.last = now;
  }

  stop(): void {
    this.timings.totalMs = performance.now() - this.start;
  }
}
