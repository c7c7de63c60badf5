/**
 * Counts how many of the example questions are answered: an answer counts when it contains one of the accepted ones.
 * `npx tsx scripts/count-answers.ts [passage tokens] [model folder]` indexes examples/docs into a temporary store and
 * prints a line per method. Passages have 64 tokens unless told otherwise, as in the demo.
 */
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";
import { type AnswerMethod, ask } from "../src/answer/ask.js";
import { indexDocuments } from "../src/answer/index-documents.js";
import { normalizeAnswer } from "../src/evaluate/metrics/squad.js";
import { bundledModel } from "../src/model/bundled.js";
import { LanguageModel } from "../src/model/language-model.js";
import { StateStore } from "../src/store/store.js";

interface Question {
  question: string;
  answers: string[];
  document: string;
}

const examples = fileURLToPath(new URL("../examples", import.meta.url));
const lines = (await readFile(join(examples, "questions.jsonl"), "utf8")).trim().split("\n");
const questions = lines.map((line) => JSON.parse(line) as Question);
const folder = await mkdtemp(join(tmpdir(), "picaso-examples-"));
const model = await LanguageModel.load(process.argv[3] ?? bundledModel);
const store = await StateStore.open(folder, { model });
await indexDocuments(store, [join(examples, "docs")], { passageTokens: Number(process.argv[2] ?? 64) });

const runs: [AnswerMethod, number][] = [
  ["picaso-r", 1],
  ["picaso-r", 2],
  ["picaso-s", 2],
  ["soup", 2],
  ["caso", 2],
  ["concat", 2],
  ["picaso-r", 4],
  ["picaso-s", 4],
  ["soup", 4],
  ["concat", 4],
  ["none", 1],
];
for (const [method, k] of runs) {
  let right = 0;
  let retrieved = 0;
  for (const { question, answers, document } of questions) {
    const { answer, contexts } = await ask(store, question, { method, k });
    const normal = normalizeAnswer(answer);
    if (answers.some((accepted) => normal.includes(normalizeAnswer(accepted)))) right++;
    if (contexts.some(({ source }) => basename(source.replace(/#.*$/, "")) === document)) retrieved++;
  }
  console.log(`${method} k=${k}: ${right} of ${questions.length} right, right document retrieved for ${retrieved}`);
}
await store.close();
await rm(folder, { recursive: true });
