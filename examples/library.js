// The same from TypeScript or JavaScript: documents to an answer, then the parts by themselves.
import {
  ask,
  bundledModel,
  compose,
  contextTokens,
  indexDocuments,
  LanguageModel,
  questionTokens,
  StateStore,
} from "picaso";

const model = await LanguageModel.load(bundledModel);
const store = await StateStore.open(".picaso-examples", { model, mode: "create" });
await indexDocuments(store, ["examples/docs"], { passageTokens: 64 });
const { answer, contexts } = await ask(store, "Who composed the Moonlight Sonata?", { k: 2, method: "picaso-r" });
console.log(
  answer,
  contexts.map(({ source }) => source),
);

// Passages and questions in the form that the model was trained on.
const passages = ["The river Zorn is 80 kilometres long.", "The river Moder is 93 kilometres long."];
const states = await model.encodeMany(passages.map((text) => contextTokens(model, text)));
const state = compose(states, "picaso-s");
const question = questionTokens(model, "How long is the river Zorn?");
const { stop } = model.form;
for await (const { text } of model.generate(question, { state, stop, maxTokens: 32 })) process.stdout.write(text);
console.log();

await store.close();
await model.dispose();
