// The same from TypeScript or JavaScript: documents to an answer, then the parts by themselves.
import { ask, compose, indexDocuments, LanguageModel, StateStore } from "picaso";

const model = await LanguageModel.load("models/mamba2-26m-base");
const store = await StateStore.open(".picaso-examples", { model, mode: "create" });
await indexDocuments(store, ["examples/docs"], { passageTokens: 64 });
const { answer, contexts } = await ask(store, "Who composed the Moonlight Sonata?", { k: 2, method: "picaso-r" });
console.log(
  answer,
  contexts.map(({ source }) => source),
);

const states = await model.encodeMany([
  model.tokenizer.encode("The river Zorn is 80 kilometres long.\n\n"),
  model.tokenizer.encode("The river Moder is 93 kilometres long.\n\n"),
]);
const state = compose(states, "picaso-s");
const question = model.tokenizer.encode("Question: How long is the river Zorn?\nAnswer:");
for await (const { text } of model.generate(question, { state, stop: ["\n"] })) process.stdout.write(text);
console.log();

await store.close();
await model.dispose();
