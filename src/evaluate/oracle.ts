/** The best order there could be: candidates ranked by the loss of the target with each of them alone. */
import type { LanguageModel } from "../model/language-model.js";
import { ContextStates } from "./context-states.js";
import { measureStarts } from "./measure.js";
import type { Start } from "./methods.js";
import type { Ranker } from "./retrieval.js";

/** Candidates that are tried, those that `first` ranks highest: each costs a pass over the query. */
const candidates = 24;

/** Knows the target, which no retrieval does: an upper bound for rankings by single contexts. */
export function oracleRanker(
  model: LanguageModel,
  first: Ranker,
  { beginning, signal }: { beginning?: readonly number[]; signal?: AbortSignal } = {},
): Ranker {
  const states = new ContextStates(model, { beginning });
  return {
    async rank(request, most) {
      const contexts = await first.rank(request, candidates);
      const starts = contexts.map((_, rank): Start => ({ kind: "composed", method: "soup", order: [rank] }));
      const query = { ...request.query!, contexts };
      const outcomes = await measureStarts(model, states, query, starts, { answerTokens: 0 }, signal);
      return outcomes
        .map(({ loss }, rank) => ({ loss, rank }))
        .sort((a, b) => a.loss - b.loss || a.rank - b.rank)
        .slice(0, most)
        .map(({ rank }) => contexts[rank]!);
    },
  };
}
