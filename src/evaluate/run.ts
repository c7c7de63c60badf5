/** A run: all queries measured by a plan, in a journal that survives interruption. */
import { createHash } from "node:crypto";
import { join } from "node:path";
import type { LanguageModel } from "../model/language-model.js";
import type { Codec } from "../state/codec.js";
import { ContextStates } from "./context-states.js";
import { Journal } from "./journal.js";
import { measureQuery, type QueryPlan, type QueryResult } from "./measure-query.js";
import type { EvaluationQuery } from "./query.js";
import { measureInWorkers } from "./workers.js";

export interface RunOptions {
  /** Folder for the journal. */
  out: string;
  plan: QueryPlan;
  /** Passes stored states through this codec. @default "f32" */
  codec?: Codec;
  /** Tokens before every context, and before a prompt without contexts. @default the model's beginning of sequence */
  beginning?: readonly number[];
  /** Processes that measure side by side, each with one thread; in this process for 0. @default 0 */
  workers?: number;
  /** What distinguishes this run from others: suite, data, options. */
  settings: Record<string, unknown>;
  onProgress?: (progress: { done: number; total: number }) => void;
  signal?: AbortSignal;
}

/** Measures what the journal does not hold yet, and returns the results of all queries in their order. */
export async function runEvaluation(
  model: LanguageModel,
  queries: readonly EvaluationQuery[],
  options: RunOptions,
): Promise<QueryResult[]> {
  const { plan, settings, codec = "f32", beginning, workers = 0, signal } = options;
  const content = contentHash(queries);
  const description = { ...settings, model: model.fingerprint, plan, codec, queries: queries.length, content };
  const journal = await Journal.open<QueryResult>(join(options.out, "queries.jsonl"), description);
  const known = new Map(journal.entries.map((entry) => [entry.id, entry]));
  const left = [...queries.entries()].filter(([, { id }]) => !known.has(id));
  const take = async (result: QueryResult) => {
    await journal.add(result);
    known.set(result.id, result);
    options.onProgress?.({ done: known.size, total: queries.length });
  };
  if (workers > 0 && left.length > 0) {
    const { directory, dtype } = model;
    await measureInWorkers({ directory, dtype, workers, plan, codec, beginning, signal }, left, take);
  } else {
    const states = new ContextStates(model, { codec, beginning });
    for (const [number, query] of left) await take(await measureQuery(model, states, query, number, plan, signal));
  }
  return queries.map(({ id }) => known.get(id)!);
}

/** Tells queries apart that come from other data of the same name, or from another ranking. */
function contentHash(queries: readonly EvaluationQuery[]): string {
  const hash = createHash("sha256");
  for (const { id, prompt, target, contexts, references } of queries) {
    hash.update(JSON.stringify([id, prompt, target, references, contexts.map(({ tokens }) => tokens)]));
  }
  return hash.digest("hex").slice(0, 16);
}
