/** Plain perplexity of a WikiText token file: each article alone, from a beginning of sequence, every token scored. */
import { basename, join } from "node:path";
import { writeWhole } from "../cache.js";
import { resolveDataFile } from "../hub/data-file.js";
import { beginning } from "../model/form.js";
import type { LanguageModel } from "../model/language-model.js";
import { readWikiText } from "./data/wikitext.js";
import type { Evaluated, EvaluateOptions } from "./evaluate-suite.js";
import { Journal } from "./journal.js";
import { logPerplexity } from "./metrics/log-perplexity.js";

interface ScoredArticle {
  id: string;
  loss: number;
  tokens: number;
  words: number;
}

export async function measurePerplexity(model: LanguageModel, options: EvaluateOptions): Promise<Evaluated> {
  const articles = await readWikiText(
    await resolveDataFile(options.data, { offline: options.offline, signal: options.signal }),
  );
  const settings = {
    suite: "perplexity",
    data: basename(options.data),
    model: model.fingerprint,
    articles: articles.length,
  };
  const journal = await Journal.open<ScoredArticle>(join(options.out, "articles.jsonl"), settings);
  const known = new Set(journal.entries.map(({ id }) => id));
  const begin = beginning(model);
  for (const [number, { title, text, words }] of articles.entries()) {
    const id = `${number} ${title}`;
    if (!known.has(id)) {
      const tokens = [...begin, ...model.tokenizer.encode(text)];
      const [losses] = await model.score([{ tokens }], { signal: options.signal });
      await journal.add({ id, loss: losses!.reduce((a, b) => a + b, 0), tokens: losses!.length, words });
    }
    options.onProgress?.("scoring", { done: number + 1, total: articles.length });
  }
  const total = logPerplexity(journal.entries);
  await writeWhole(join(options.out, "summary.json"), `${JSON.stringify({ settings, ...total }, null, 1)}\n`);
  return {
    json: { settings, ...total },
    rows: [
      ["articles", "tokens", "words", "log-perplexity", "per token", "per word"],
      [
        articles.length,
        total.tokens,
        total.words,
        ...[total.logPerplexity, total.perplexityPerToken, total.perplexityPerWord].map((value) => value.toFixed(4)),
      ],
    ],
  };
}
