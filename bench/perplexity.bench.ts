/**
 * What weights of 8 and 4 bits cost in log-perplexity, on a few articles of a WikiText token file:
 * `npx tsx bench/perplexity.bench.ts wiki.test.tokens [articles] [dtypes]`. The articles are the shortest among every
 * eighth of the file. `picaso eval perplexity --dtype q4` measures all of them.
 */
import { readWikiText } from "../src/evaluate/data/wikitext.js";
import { bundledModel } from "../src/model/bundled.js";
import { beginning } from "../src/model/form.js";
import { LanguageModel } from "../src/model/language-model.js";
import { type WeightDtype, weightDtypes } from "../src/model/quantize.js";

const [file, count = "5", dtypes = weightDtypes.join()] = process.argv.slice(2);
if (!file) {
  console.error("usage: npx tsx bench/perplexity.bench.ts wiki.test.tokens [articles] [dtypes]");
  process.exit(2);
}
const all = (await readWikiText(file, { headings: "any" })).filter(({ words }) => words > 26);
const articles = all
  .filter((_, i) => i % 8 === 3)
  .sort((a, b) => a.words - b.words)
  .slice(0, Number(count));

for (const dtype of dtypes.split(",") as WeightDtype[]) {
  const model = await LanguageModel.load(bundledModel, { dtype });
  let loss = 0;
  let tokens = 0;
  for (const { text } of articles) {
    const [losses] = await model.score([{ tokens: [...beginning(model), ...model.tokenizer.encode(text)] }]);
    loss += losses!.reduce((a, b) => a + b, 0);
    tokens += losses!.length;
  }
  const mean = loss / tokens;
  console.log(`${dtype}  ${tokens} tokens  log-perplexity ${mean.toFixed(4)}  per token ${Math.exp(mean).toFixed(2)}`);
  await model.dispose();
}
