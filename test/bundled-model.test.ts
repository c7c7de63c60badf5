/** The model that comes with the package: loads, answers from a passage, and does so from a stored state. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { bundledModel } from "../src/model/bundled.js";
import { LanguageModel } from "../src/model/language-model.js";
import { ContextState } from "../src/state/context-state.js";
import { useScratch } from "./support/scratch.js";

useScratch();
let model: LanguageModel;
beforeAll(async () => {
  const start = performance.now();
  model = await LanguageModel.load(bundledModel);
  const first = performance.now() - start;
  await model.dispose();
  const again = performance.now();
  model = await LanguageModel.load(bundledModel);
  const second = performance.now() - again;
  console.log(`bundled model: first load ${first.toFixed(0)} ms, second ${second.toFixed(0)} ms`);
});
afterAll(() => model?.dispose());

/** The tokens of a passage as its picaso.json wants them. */
function passageTokens(text: string): number[] {
  const { bos, passageSuffixIds } = model.form;
  return [...(bos ? [model.config.bosTokenId!] : []), ...model.tokenizer.encode(text), ...passageSuffixIds];
}

const questionTokens = (question: string) =>
  model.tokenizer.encode(model.form.questionTemplate.replace("{question}", question));

async function answer(tokens: readonly number[], state?: ContextState): Promise<string> {
  let text = "";
  for await (const piece of model.generate(tokens, { state, maxTokens: 16, stop: model.form.stop })) text += piece.text;
  return text.trim();
}

describe("the bundled model", () => {
  test("is what its README says", () => {
    expect(model.config).toMatchObject({ layers: 10, hiddenSize: 512, heads: 16, stateSize: 128, vocabSize: 16_000 });
    expect(model.form).toMatchObject({ bos: true, passageSuffixIds: [200, 200], stop: ["\n"] });
  });

  test.each([
    ["The Eiffel Tower was completed in 1889.", "When was the Eiffel Tower completed?", "1889"],
    [
      "Beethoven was baptised in Bonn on 17 December 1770. He moved to Vienna when he was 21.",
      "Where was Beethoven baptised?",
      "Bonn",
    ],
  ])("answers from a passage: %s", async (passage, question, expected) => {
    const prompt = questionTokens(question);
    const state = await model.encode(passageTokens(passage));
    const fromState = await answer(prompt, state);
    expect(fromState).toContain(expected);
    expect(await answer(prompt, ContextState.fromBytes(state.toBytes("f32")))).toBe(fromState);
    expect(await answer([...passageTokens(passage), ...prompt])).toBe(fromState);
    expect(await answer([model.config.bosTokenId!, ...prompt])).not.toContain(expected);
  });

  test("predicts English far better than the same words in reverse", async () => {
    const text = "The city lies on the river and is the capital of the country. It was founded in the ninth century.";
    const forward = model.tokenizer.encode(text);
    const [sense, nonsense] = await model.score([{ tokens: forward }, { tokens: forward.toReversed() }]);
    const mean = (losses: Float32Array) => losses.reduce((a, b) => a + b, 0) / losses.length;
    expect(mean(sense!)).toBeLessThan(4);
    expect(mean(nonsense!)).toBeGreaterThan(mean(sense!) + 2);
  });
});
