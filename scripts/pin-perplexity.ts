/**
 * The bundled model's figure from its training, measured by this engine: WikiText-2 test as its model card cuts it (each
 * stretch from one line that looks like a heading to the next, stretches of a few words left out), BOS before each.
 * Run: npx tsx scripts/pin-perplexity.ts wiki.test.tokens
 */
import { readWikiText } from "../src/evaluate/data/wikitext.js";
import { logPerplexity } from "../src/evaluate/metrics/log-perplexity.js";
import { bundledModel } from "../src/model/bundled.js";
import { LanguageModel } from "../src/model/language-model.js";

const [file] = process.argv.slice(2);
if (file === undefined) throw new Error("name the file of WikiText-2's test tokens");
const articles = (await readWikiText(file, { headings: "any" })).filter(({ words }) => words > 26);
const model = await LanguageModel.load(bundledModel);
const requests = articles.map(({ text }) => ({ tokens: [model.config.bosTokenId!, ...model.tokenizer.encode(text)] }));
const losses = await model.score(requests);
const total = logPerplexity(
  articles.map(({ words }, i) => ({ loss: losses[i]!.reduce((a, b) => a + b, 0), tokens: losses[i]!.length, words })),
);
console.log(
  `${articles.length} articles, ${total.tokens} tokens, ${total.words} words: perplexity ` +
    `${total.perplexityPerToken.toFixed(3)} per token, ${total.perplexityPerWord.toFixed(3)} per word`,
);
await model.dispose();
