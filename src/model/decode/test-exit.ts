/**
 * Decodes in a process of its own, which then has nothing to do, for the test that it ends:
 * `node --import tsx test-exit.ts MODEL dispose|abort|leave`.
 */
import { LanguageModel } from "../language-model.js";

const [folder, how] = process.argv.slice(2) as [string, string];
const model = await LanguageModel.load(folder, { threads: 3 });
const stop = new AbortController();
const pieces = model.generate([1, 2, 3], { maxTokens: 1000, signal: stop.signal });
let count = 0;
try {
  for await (const _ of pieces) {
    if (++count < 50) continue;
    if (how !== "abort") break;
    stop.abort();
  }
} catch (error) {
  console.log((error as { code: string }).code);
}
if (how === "dispose") await model.dispose();
console.log(`${count} tokens`);
