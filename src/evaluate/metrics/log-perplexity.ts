/**
 * Log-perplexity, the metric of PICASO (arXiv 2502.17605): the mean loss over tokens, in nats. Its exponential is the
 * perplexity. Per word, the same total loss is divided by the words of the text, which makes models with different
 * tokenizers comparable.
 */
import { PicasoError } from "../../errors.js";

/** What was scored in one or more texts. */
export interface ScoredText {
  /** Sum over tokens of -log p(token), in nats. */
  loss: number;
  /** Tokens scored. */
  tokens: number;
  /** Words of the scored text, see {@link countWords}. */
  words: number;
}

export interface LogPerplexity extends ScoredText {
  /** loss / tokens */
  logPerplexity: number;
  perplexityPerToken: number;
  /** NaN where no words were counted. */
  perplexityPerWord: number;
}

/**
 * The log-perplexity over all texts together: every token weighs the same, whichever text it stands in.
 * Throws `bad-argument` for a loss that is not finite, counts that are no counts, and when no token was scored.
 */
export function logPerplexity(texts: Iterable<ScoredText>): LogPerplexity {
  const sum: ScoredText = { loss: 0, tokens: 0, words: 0 };
  let index = 0;
  for (const text of texts) {
    if (!Number.isFinite(text.loss)) throw badArgument(`text ${index}, loss`, "a finite number", text.loss);
    for (const name of ["tokens", "words"] as const) {
      const count = text[name];
      if (!Number.isSafeInteger(count) || count < 0) throw badArgument(`text ${index}, ${name}`, "a count", count);
      sum[name] += count;
    }
    sum.loss += text.loss;
    index++;
  }
  if (sum.tokens === 0) throw badArgument("all texts, tokens", "at least one scored token", 0);
  return {
    ...sum,
    logPerplexity: sum.loss / sum.tokens,
    perplexityPerToken: Math.exp(sum.loss / sum.tokens),
    perplexityPerWord: sum.words === 0 ? Number.NaN : Math.exp(sum.loss / sum.words),
  };
}

/**
 * Words as perplexity per word counts them: what stands between spaces, tabs and line ends. (Other spaces of Unicode
 * occur within the tokens of WikiText.)
 */
export function countWords(text: string): number {
  return text.match(/[^ \t\r\n]+/g)?.length ?? 0;
}

function badArgument(where: string, expected: string, found: number): PicasoError {
  const next = "Check the losses that the model returned.";
  return new PicasoError("bad-argument", { where: `log-perplexity, ${where}`, expected, found: String(found), next });
}
