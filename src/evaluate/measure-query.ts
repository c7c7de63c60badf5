/** Everything that a run measures of one query: what the journal keeps. */
import type { LanguageModel } from "../model/language-model.js";
import type { ContextStates } from "./context-states.js";
import { type Measurement, measureMethods, type Plan } from "./measure.js";
import type { EvaluationQuery } from "./query.js";
import { measureScatter, type Scatter, type ScatterPlan } from "./scatter.js";

export interface QueryPlan extends Plan {
  /** Measures the first queries of the run under random orders of their contexts too. */
  scatter?: ScatterPlan;
}

export interface QueryResult {
  id: string;
  targetTokens: number;
  words: number;
  /** Of the contexts, best first. */
  relevant: boolean[];
  /** 0 where the suite knows no relevant contexts. */
  relevantTotal: number;
  references: string[];
  measurements: Measurement[];
  scatter?: Scatter[];
}

/** `number` is the query's place in the run. */
export async function measureQuery(
  model: LanguageModel,
  states: ContextStates,
  query: EvaluationQuery,
  number: number,
  { scatter, ...plan }: QueryPlan,
  signal?: AbortSignal,
): Promise<QueryResult> {
  const relevant = new Set(query.relevant);
  const measurements = await measureMethods(model, states, query, plan, signal);
  const scattered = scatter && number < scatter.queries;
  return {
    id: query.id,
    targetTokens: query.target.length,
    words: query.words,
    relevant: query.contexts.map(({ id }) => relevant.has(id)),
    relevantTotal: relevant.size,
    references: [...(query.references ?? [])],
    measurements,
    ...(scattered && { scatter: await measureScatter(model, states, query, scatter, signal) }),
  };
}
