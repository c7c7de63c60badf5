/** For tests only: queries on the golden models, and their losses computed the plain way, one pass at a time. */
import { randomTokens } from "../../test/support/random-tokens.js";
import { compose } from "../compose/compose.js";
import type { CompositionMethod } from "../compose/weights.js";
import { beginning } from "../model/form.js";
import type { LanguageModel } from "../model/language-model.js";
import type { ContextState } from "../state/context-state.js";
import type { EvaluationQuery } from "./query.js";
import { Random } from "./random.js";

/** Queries of random tokens, each with `contexts` contexts of 5 to 12 tokens; neighbours have all but one in common. */
export function randomQueries(model: LanguageModel, count: number, contexts: number): EvaluationQuery[] {
  let seed = 1;
  const draw = (length: number) => randomTokens(length, model.config.vocabSize, seed++);
  const pool = Array.from({ length: count + contexts }, (_, i) => ({ id: `c${i}`, tokens: draw(5 + ((i * 5) % 8)) }));
  return Array.from({ length: count }, (_, number) => ({
    id: `q${number}`,
    prompt: draw(4 + (number % 3)),
    target: draw(6 + number),
    words: 3 + number,
    contexts: pool.slice(number, number + contexts),
    references: ["the tower", "a bridge"],
    relevant: [`c${number + 1}`],
  }));
}

/** Total loss of `target` behind `tokens`, in nats: one call of `forward`, the softmax in float64. */
export async function plainLoss(
  model: LanguageModel,
  tokens: readonly number[],
  target: readonly number[],
  state?: ContextState,
): Promise<number> {
  const { logits } = await model.forward([...tokens, ...target], { state, logits: "all" });
  const { vocabSize } = model.config;
  return target.reduce((total, id, i) => {
    const row = tokens.length + i - 1;
    const values = Float64Array.from(logits.subarray(row * vocabSize, (row + 1) * vocabSize));
    const most = Math.max(...values);
    const sum = values.reduce((all, value) => all + Math.exp(value - most), 0);
    return total + most + Math.log(sum) - values[id]!;
  }, 0);
}

/** The contexts named by `order` joined behind one beginning of sequence. */
export function joined(model: LanguageModel, { contexts }: EvaluationQuery, order: readonly number[]): number[] {
  return [...beginning(model), ...order.flatMap((rank) => contexts[rank]!.tokens)];
}

/** The loss from the composition of contexts that were each encoded by itself. */
export async function composedLoss(
  model: LanguageModel,
  query: EvaluationQuery,
  order: readonly number[],
  method: CompositionMethod,
): Promise<number> {
  const states: ContextState[] = [];
  for (const rank of order) states.push(await model.encode(joined(model, query, [rank])));
  return plainLoss(model, query.prompt, query.target, compose(states, method));
}

const words = (
  "tower bridge river garden castle market harbour winter summer council railway painter museum forest island " +
  "mountain village church school engine letter window silver copper stone"
).split(" ");

/** The text of a WikiText token file with made-up articles of some 2,500 characters. */
export function wikiText(articles: number): string {
  const random = Random.of(7);
  const word = () => words[random.below(words.length)]!;
  const sentence = () => `The ${word()} of the ${word()} was near the ${word()} in ${1800 + random.below(200)} .`;
  const paragraph = () => Array.from({ length: 10 }, sentence).join(" ");
  const article = (number: number) =>
    ` = Article ${number} = \n \n${Array.from({ length: 5 }, () => ` ${paragraph()} \n`).join("")} \n`;
  return Array.from({ length: articles }, (_, number) => article(number)).join("");
}
