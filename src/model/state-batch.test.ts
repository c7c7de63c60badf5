/** Sequences that go on together, their states changed in place, against reading each from the start. */
import { afterAll, beforeAll, expect, test } from "vitest";
import { goldenVocabulary, makeGoldenFolder, relativeError } from "../../test/support/golden.js";
import { randomTokens } from "../../test/support/random-tokens.js";
import { useScratch } from "../../test/support/scratch.js";
import { LanguageModel } from "./language-model.js";
import { type AdvanceOptions, SEGMENT_TOKENS } from "./state-batch.js";

const scratch = useScratch();
let model: LanguageModel;
beforeAll(async () => {
  model = await LanguageModel.load(await makeGoldenFolder("golden-g2", scratch.path("model")), { threads: 1 });
});
afterAll(() => model?.dispose());

const tokens = (count: number, seed: number) => randomTokens(count, goldenVocabulary["golden-g2"], seed);

// Shorter than the convolution is wide, nothing at all, and longer than a run, in every order.
test.each([
  ["one sequence", [[5, 1, 1, SEGMENT_TOKENS + 3, 2, 1]]],
  [
    "three sequences",
    [
      [5, 1, 1, 0, SEGMENT_TOKENS + 3],
      [1, 0, 2, 1, 1],
      [SEGMENT_TOKENS + 1, 1, 0, 0, 4],
    ],
  ],
])("%s read in pieces predict as when read at once", async (_, counts) => {
  const states = await model.encodeMany(counts.map((_, i) => tokens(7 + i, 50 + i)));
  const before = states.map((state) => state.toBytes("f32"));
  const advance = model.continueFrom(states);
  const read: number[][] = counts.map(() => []);
  for (let step = 0; step < counts[0]!.length; step++) {
    const pieces = counts.map((sequence, i) => tokens(sequence[step]!, 10 * step + i));
    const steps = pieces.map((piece) => ({ tokens: piece, rows: piece.length > 0 ? [piece.length - 1] : [] }));
    for (const [i, { logits }] of (await advance(steps)).entries()) {
      read[i]!.push(...pieces[i]!);
      if (pieces[i]!.length === 0) continue;
      const expected = await model.forward(read[i]!, { state: states[i]! });
      expect(relativeError(logits, expected.logits), `step ${step}, sequence ${i}`).toBeLessThan(1e-5);
    }
  }
  expect(
    states.map((state) => state.toBytes("f32")),
    "the states it began with",
  ).toEqual(before);
});

test("a single state may be overwritten: the same predictions, and its arrays hold the state that follows", async () => {
  const [given, same] = await model.encodeMany([tokens(9, 1), tokens(9, 1)]);
  const [first, second] = [tokens(6, 2), tokens(4, 3)];
  const kept = model.continueFrom([same!]);
  const advance = model.continueFrom([given!], { overwrite: true });
  for (const piece of [first, second]) {
    const steps = [{ tokens: piece, rows: [piece.length - 1] }];
    expect((await advance(steps))[0]!.logits).toEqual((await kept(steps))[0]!.logits);
  }
  const { state } = await model.forward([...first, ...second], { state: same! });
  expect(relativeError(given!.ssm, state.ssm)).toBeLessThan(1e-5);
  expect(relativeError(given!.conv, state.conv)).toBeLessThan(1e-5);
});

test("a last run gives the same losses, leaves what it began with, and is the last", async () => {
  const [given, other] = await model.encodeMany([tokens(9, 1), tokens(5, 2)]);
  const before = given!.toBytes("f32");
  const piece = tokens(SEGMENT_TOKENS + 5, 4);
  const step = { tokens: piece, rows: [0, SEGMENT_TOKENS + 3], targets: [1, 2] };
  for (const states of [[given!], [given!, other!]]) {
    const steps = states.map(() => step);
    const expected = await model.continueFrom(states)(steps);
    const advance = model.continueFrom(states);
    const last: AdvanceOptions = { isLast: true };
    expect(await advance(steps, last)).toEqual(expected);
    expect(given!.toBytes("f32")).toEqual(before);
    await expect(advance(steps)).rejects.toThrow(/the batch is over/);
  }
});
