import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { editConfig } from "../../test/support/folder-changes.js";
import { makeGoldenFolder } from "../../test/support/golden.js";
import { randomTokens } from "../../test/support/random-tokens.js";
import { useScratch } from "../../test/support/scratch.js";
import { PicasoError } from "../errors.js";
import type { GenerateOptions } from "./generate.js";
import { LanguageModel } from "./language-model.js";
import { likeliest } from "./sampling.js";

const scratch = useScratch();
const prompt = randomTokens(12, 288);
let model: LanguageModel;
beforeAll(async () => {
  // No end of sequence: this model of random weights may give any token.
  const folder = await makeGoldenFolder("golden-g1", scratch.path("endless"));
  await editConfig({ eos_token_id: null })(folder);
  model = await LanguageModel.load(folder, { threads: 1 });
});
afterAll(() => model?.dispose());

async function generated(tokens: readonly number[], options: GenerateOptions = {}, by = model) {
  const pieces: { text: string; token: number }[] = [];
  for await (const piece of by.generate(tokens, options)) pieces.push(piece);
  return { tokens: pieces.map(({ token }) => token), text: pieces.map(({ text }) => text).join(""), pieces };
}

describe("greedy", () => {
  test("takes the likeliest token each time, from the state before it", async () => {
    const { tokens, text } = await generated(prompt, { maxTokens: 20 });
    const ids = [...prompt];
    for (const token of tokens) {
      expect(token).toBe(likeliest((await model.forward(ids)).logits));
      ids.push(token);
    }
    expect(tokens).toHaveLength(20);
    expect(text).toBe(model.tokenizer.decode(tokens));
  });

  test("is the same each time", async () => {
    const first = await generated(prompt, { maxTokens: 30 });
    expect(await generated(prompt, { maxTokens: 30 })).toEqual(first);
  });

  test("continues from a state as from its tokens", async () => {
    const state = await model.encode(prompt.slice(0, 7));
    const { tokens } = await generated(prompt.slice(7), { state, maxTokens: 20 });
    expect(tokens).toEqual((await generated(prompt, { maxTokens: 20 })).tokens);
  });

  test("is what topK = 1 gives at any temperature", async () => {
    const { tokens } = await generated(prompt, { maxTokens: 20 });
    expect((await generated(prompt, { temperature: 5, topK: 1, maxTokens: 20, seed: 3 })).tokens).toEqual(tokens);
  });
});

describe("sampling", () => {
  const options = { temperature: 2, maxTokens: 25 };

  test("repeats with the same seed, and differs with others", async () => {
    const first = await generated(prompt, { ...options, seed: 1 });
    expect(await generated(prompt, { ...options, seed: 1 })).toEqual(first);
    expect((await generated(prompt, { ...options, seed: 2 })).tokens).not.toEqual(first.tokens);
  });

  test("differs without a seed", async () => {
    const runs = [await generated(prompt, options), await generated(prompt, options)];
    expect(runs[0]!.tokens).not.toEqual(runs[1]!.tokens);
  });
});

describe("the end", () => {
  test.each([1, 2, 33])("comes after maxTokens = %i", async (maxTokens) => {
    const { tokens, text } = await generated(prompt, { maxTokens });
    expect(tokens).toHaveLength(maxTokens);
    expect(text).toBe(model.tokenizer.decode(tokens));
  });

  test("comes at a stop text, also over the border of tokens", async () => {
    // Sampled, for a text with some variety; the texts of the pieces show where the borders are.
    const sampling = { temperature: 1, seed: 4, maxTokens: 60 };
    const { text, pieces } = await generated(prompt, sampling);
    const ends = pieces.map((_, i) => pieces.slice(0, i + 1).reduce((length, piece) => length + piece.text.length, 0));
    let crossed = 0;
    for (let at = 1; at + 3 < text.length; at += 2) {
      const stop = text.slice(at, at + 3);
      const stopped = await generated(prompt, { ...sampling, stop: ["never", stop] });
      expect(stopped.text).toBe(text.slice(0, text.indexOf(stop)));
      expect(stopped.tokens).toEqual(pieces.slice(0, stopped.tokens.length).map(({ token }) => token));
      expect(stopped.tokens.length).toBeLessThan(pieces.length + 1);
      if (ends.some((end) => end > at && end < at + 3)) crossed++;
    }
    expect(crossed).toBeGreaterThan(5);
  });

  test("comes at the model's end token, which has no text", async () => {
    const { tokens } = await generated(prompt, { maxTokens: 10 });
    const end = tokens[6]!;
    const folder = await makeGoldenFolder("golden-g1", scratch.path("ending"));
    await editConfig({ eos_token_id: [1, end] })(folder);
    const ending = await LanguageModel.load(folder, { threads: 1 });
    try {
      const result = await generated(prompt, { maxTokens: 100 }, ending);
      expect(result.tokens).toEqual(tokens.slice(0, tokens.indexOf(end) + 1));
      expect(result.text).toBe(model.tokenizer.decode(result.tokens.slice(0, -1)));
      expect(await ending.generateMany([{ tokens: prompt }], { maxTokens: 100 })).toEqual([result.text]);
    } finally {
      await ending.dispose();
    }
  });

  test("may be the caller's, who stops asking", async () => {
    const taken: number[] = [];
    for await (const { token } of model.generate(prompt)) {
      taken.push(token);
      if (taken.length === 3) break;
    }
    expect(taken).toEqual((await generated(prompt, { maxTokens: 3 })).tokens);
  });
});

describe("the caller's signal", () => {
  test("stops before the first token", async () => {
    const run = generated(prompt, { signal: AbortSignal.abort() });
    await expect(run).rejects.toSatisfy(PicasoError.isInstance);
    await expect(run).rejects.toMatchObject({ code: "aborted" });
  });

  test("stops between tokens, and gives the reason", async () => {
    const control = new AbortController();
    const taken: number[] = [];
    const run = async () => {
      for await (const { token } of model.generate(prompt, { signal: control.signal, maxTokens: 1000 })) {
        taken.push(token);
        if (taken.length === 5) control.abort("enough");
      }
    };
    await expect(run()).rejects.toMatchObject({ code: "aborted", cause: "enough" });
    expect(taken).toHaveLength(5);
  });

  test("stops many at once", async () => {
    const signal = AbortSignal.abort();
    await expect(model.generateMany([{ tokens: prompt }], { signal })).rejects.toMatchObject({ code: "aborted" });
  });
});

describe("many at once", () => {
  const prompts = [3, 12, 600, 1, 12, 40].map((length, i) => randomTokens(length, 288, i));

  test("give the texts that they give one by one", async () => {
    const state = await model.encode(randomTokens(20, 288, 50));
    const requests = prompts.map((tokens, i) => ({ tokens, ...(i % 2 && { state }) }));
    const alone: string[] = [];
    for (const { tokens, state } of requests) alone.push((await generated(tokens, { state, maxTokens: 15 })).text);
    expect(await model.generateMany(requests, { maxTokens: 15 })).toEqual(alone);
  });

  test("end each at its own stop text", async () => {
    const whole = await model.generateMany(
      prompts.map((tokens) => ({ tokens })),
      { maxTokens: 15 },
    );
    const stop = [...new Set(whole.map((text) => text.slice(4, 6)))].filter((text) => text !== "");
    const cut = await model.generateMany(
      prompts.map((tokens) => ({ tokens })),
      { maxTokens: 15, stop },
    );
    const expected = whole.map((text) => {
      const places = stop.map((end) => text.indexOf(end)).filter((at) => at >= 0);
      return places.length > 0 ? text.slice(0, Math.min(...places)) : text;
    });
    expect(cut).toEqual(expected);
    expect(cut).not.toEqual(whole);
  });

  test("are none for none", async () => {
    expect(await model.generateMany([])).toEqual([]);
  });
});

test.each<[name: string, tokens: number[], options: GenerateOptions, where: string]>([
  ["no tokens", [], {}, "prompt"],
  ["a token that the model lacks", [288], {}, "tokens[0]"],
  ["maxTokens = 0", [1], { maxTokens: 0 }, "maxTokens"],
  ["maxTokens = 1.5", [1], { maxTokens: 1.5 }, "maxTokens"],
  ["an empty stop text", [1], { stop: ["x", ""] }, "stop"],
])("%s cannot begin", async (_, tokens, options, where) => {
  const refusal = { code: "bad-argument", details: expect.objectContaining({ where }) };
  await expect(generated(tokens, options)).rejects.toMatchObject(refusal);
  const many = model.generateMany([{ tokens: [1] }, { tokens }], options);
  await expect(many).rejects.toMatchObject(refusal);
});

test.each([{ temperature: -1 }, { topK: -1 }, { topP: 0 }, { seed: 0.5 }])("%j is refused", async (options) => {
  await expect(generated([1], options)).rejects.toMatchObject({ code: "bad-argument" });
});
