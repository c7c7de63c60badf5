/** Turning a question with its passages and answers into a query: common to the question answering suites. */
import { passageTokens, questionTokens } from "../../model/form.js";
import type { LanguageModel } from "../../model/language-model.js";
import { countWords } from "../metrics/log-perplexity.js";
import type { EvaluationContext, EvaluationQuery } from "../query.js";

export interface AnsweredQuestion {
  id: string;
  question: string;
  /** The first is scored as the target; all count as right. */
  answers: readonly string[];
  /** Best first. */
  contexts: readonly EvaluationContext[];
  relevant: readonly string[];
}

/** The answer is scored as it stands behind the model's question form: after a space. */
export function questionQuery(model: LanguageModel, asked: AnsweredQuestion): EvaluationQuery {
  const answer = asked.answers[0]!;
  return {
    id: asked.id,
    prompt: questionTokens(model, asked.question),
    target: model.tokenizer.encode(` ${answer}`),
    words: countWords(answer),
    contexts: asked.contexts,
    references: asked.answers,
    relevant: asked.relevant,
  };
}

export function passageContext(model: LanguageModel, id: string, text: string): EvaluationContext {
  return { id, tokens: passageTokens(model, text) };
}
