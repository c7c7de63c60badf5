/** Ablations and oracle retrieval: every variant runs, and changes what it says it changes and nothing else. */
import { writeFile } from "node:fs/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { makeGoldenFolder } from "../../test/support/golden.js";
import { useScratch } from "../../test/support/scratch.js";
import { compose } from "../compose/compose.js";
import { LanguageModel } from "../model/language-model.js";
import { ContextState } from "../state/context-state.js";
import { ablations, runAblation } from "./ablation.js";
import { ContextStates } from "./context-states.js";
import type { EvaluateOptions } from "./evaluate-suite.js";
import { measureMethods } from "./measure.js";
import type { EvaluationMethod } from "./methods.js";
import { readSuite } from "./read-suite.js";
import type { MethodSummary } from "./summary.js";
import { joined, plainLoss, randomQueries, wikiText } from "./test-queries.js";

const scratch = useScratch();
let model: LanguageModel;
let options: EvaluateOptions;

beforeAll(async () => {
  model = await LanguageModel.load(await makeGoldenFolder("golden-g1", scratch.path("g1")), { threads: 1 });
  await writeFile(scratch.path("wiki.tokens"), wikiText(6));
  options = {
    suite: "wikitext",
    data: scratch.path("wiki.tokens"),
    out: "",
    ks: [1, 2],
    queries: 3,
    seed: 0,
    passageTokens: 64,
    pool: [],
    piconcatMost: 0,
    scatter: 0,
    timings: 0,
  };
});
afterAll(() => model?.dispose());

interface Rows {
  variants: { variant: string; methods: MethodSummary[] }[];
}

/** Log-perplexity of a method by variant. */
async function run(
  ablation: string,
  changed: Partial<EvaluateOptions> = {},
): Promise<(method: EvaluationMethod, k: number) => number[]> {
  const all = { ...options, ...changed, ablation, out: scratch.path(ablation) };
  const { json } = await runAblation(model, all);
  const { variants } = json as Rows;
  expect(variants.map(({ variant }) => variant)).toEqual(ablations[ablation]!(model, all).map(({ name }) => name));
  return (method, k) =>
    variants.map(({ methods }) => methods.find((row) => row.method === method && row.k === k)!.logPerplexity.value);
}

function expectDistinct(values: readonly number[]): void {
  expect(new Set(values.map((value) => value.toPrecision(7))).size, String(values)).toBe(values.length);
}

function expectEqual(values: readonly number[]): void {
  for (const value of values) expect(value).toBe(values[0]);
}

test.each(["layers", "conv"])("%s changes composed states, not concatenation", async (ablation) => {
  // With the ends of passages for questions, the variants of this random model differ in more than the last digit.
  const found = await run(ablation, { form: "passage" });
  for (const method of ["soup", "caso", "picaso-r", "picaso-s"] as const) expectDistinct(found(method, 2));
  for (const k of [1, 2]) expectEqual(found("concat", k));
  expectEqual(found("none", 0));
});

test("codec passes what is composed through its stored form, not what concatenation reads", async () => {
  const found = await run("codec");
  for (const k of [1, 2]) {
    const [exact, rounded] = found("soup", k);
    expect(exact).not.toBe(rounded);
    expect(Math.abs(exact! - rounded!)).toBeLessThan(0.01);
    expectEqual(found("concat", k));
  }
  const states = new ContextStates(model, { codec: "bf16" });
  const [state] = await states.get(randomQueries(model, 1, 1)[0]!.contexts);
  const digits = ({ ssm }: ContextState) =>
    new Uint32Array(ssm.buffer, ssm.byteOffset, ssm.length).some((v) => v & 0xffff);
  expect(digits(state!)).toBe(true);
  expect(digits(states.stored(state!))).toBe(false);
});

test.each(["retrieval", "passage-length"])("%s changes the contexts, not the queries", async (ablation) => {
  const found = await run(ablation);
  expectDistinct(found("soup", 2));
  expectDistinct(found("concat", 2));
  expectEqual(found("none", 0));
});

test("form changes how fragments are written, with and without contexts", async () => {
  const found = await run("form");
  expectDistinct(found("none", 0));
  expectDistinct(found("concat", 2));
  const [first] = await readSuite(model, options);
  const text = model.tokenizer.decode([...first!.prompt, ...first!.target]);
  const { tokens } = first!.contexts[0]!;
  expect(text).toMatch(/^ \S/);
  expect(model.tokenizer.decode([...tokens])).toMatch(/ \n$/);
  expect(tokens[0]).not.toBe(model.config.bosTokenId);
});

test("distractors state rival facts, beside the same planted passage", async () => {
  const needle = { ...options, suite: "needle", ks: [1, 5], passageTokens: 32 };
  const stated = /The (\w+) of (\w+) was built in (\d+)\./;
  const plain = await readSuite(model, needle);
  for (const distractors of [0, 1, 3, 7]) {
    const queries = await readSuite(model, { ...needle, distractors });
    for (const [number, { contexts, prompt }] of queries.entries()) {
      expect(prompt).toEqual(plain[number]!.prompt);
      expect(contexts[0]).toEqual(plain[number]!.contexts[0]);
      const facts = contexts.map(({ tokens }) => stated.exec(model.tokenizer.decode([...tokens])));
      expect(facts.map((fact) => fact !== null)).toEqual(contexts.map((_, i) => i <= distractors));
      const [, thing, place, year] = facts[0]!;
      for (const rival of facts.slice(1).filter((fact) => fact !== null)) {
        expect([rival[1] === thing, rival[2] === place].filter(Boolean)).toHaveLength(1);
        expect(rival[3]).not.toBe(year);
      }
    }
  }
  const found = await run("distractors", { suite: "needle", ks: [4], passageTokens: 32 });
  expectEqual(found("none", 0));
  // Four contexts have room for three.
  const concat = found("concat", 4);
  expect(concat).toHaveLength(3);
  expectDistinct(concat);
});

test("the oracle is the best single context of all retrievals", async () => {
  const [random, bm25, oracle] = (await run("retrieval"))("soup", 1);
  expect(oracle).toBeLessThan(bm25!);
  expect(oracle).toBeLessThan(random!);
});

test("the oracle ranks what BM25 finds by the loss with each context alone", async () => {
  const seen: { done: number; total: number }[] = [];
  const onProgress: EvaluateOptions["onProgress"] = (label, progress) => {
    if (label === "ranking") seen.push(progress);
  };
  const queries = await readSuite(model, { ...options, ks: [5], retrieval: "oracle", onProgress });
  expect(seen).toEqual([1, 2, 3].map((done) => ({ done, total: 3 })));
  const candidates = await readSuite(model, { ...options, ks: [24], retrieval: "bm25" });
  for (const [number, query] of queries.entries()) {
    const all = candidates[number]!;
    const scored: { id: string; loss: number }[] = [];
    for (const [rank, { id }] of all.contexts.entries()) {
      const tokens = [...all.contexts[rank]!.tokens, ...query.prompt];
      scored.push({ id, loss: await plainLoss(model, tokens, query.target) });
    }
    const best = scored.sort((a, b) => a.loss - b.loss).slice(0, 5);
    expect(query.contexts.map(({ id }) => id)).toEqual(best.map(({ id }) => id));
  }
});

test("shared: only weights that do not sum to one change", async () => {
  const values = await run("shared");
  expectDistinct(values("picaso-s", 2));
  expectDistinct(values("caso", 2));
  for (const [method, k] of [
    ["soup", 2],
    ["picaso-s", 1],
  ] as const) {
    const [first, ...others] = values(method, k);
    for (const value of others) expect(Math.abs(value - first!) / first!).toBeLessThan(1e-6);
  }
  expectEqual(values("concat", 2));
});

test.each([
  ["an unknown kind", { ablation: "colour" }],
  ["another suite", { ablation: "retrieval", suite: "msmarco" }],
  ["facts without a needle", { ablation: "distractors" }],
])("%s is refused", async (_, changed) => {
  await expect(runAblation(model, { ...options, ...changed })).rejects.toMatchObject({ code: "bad-argument" });
});

describe("adjustments by hand", () => {
  const order = [1, 0];
  const anySample = [
    { id: "s0", tokens: [5, 6, 7, 8, 9] },
    { id: "s1", tokens: [11, 3, 12] },
  ];

  test.each([
    ["layers", { kind: "layers", from: 1, to: 2 } as const],
    ["conv last", { kind: "conv", choice: "last" } as const],
    ["conv zero", { kind: "conv", choice: "zero" } as const],
    ["weights that sum to one", { kind: "sum-to-one" } as const],
    ["shared part once", { kind: "shared-once", sample: anySample } as const],
  ])("%s", async (_, adjustment) => {
    const query = randomQueries(model, 1, 2)[0]!;
    const method = adjustment.kind === "sum-to-one" || adjustment.kind === "shared-once" ? "picaso-s" : "soup";
    const plan = { methods: [method] as const, ks: [2], piconcatMost: 0, answerTokens: 0, adjustment };
    const [measured] = await measureMethods(model, new ContextStates(model), query, plan);

    const states = await model.encodeMany(order.map((rank) => joined(model, query, [rank])));
    const best = states[1]!;
    const composed = compose(states, method);
    const { layers, heads } = model.config;
    const ssm = composed.ssm.slice();
    const conv = composed.conv.slice();
    if (adjustment.kind === "conv") conv.set(adjustment.choice === "last" ? best.conv : new Float32Array(conv.length));
    else if (adjustment.kind === "sum-to-one" || adjustment.kind === "shared-once") {
      // Two contexts: W_1 = (1 + A_2) / 2 and W_2 = (1 + A_1) / 2, so that they sum to 1 + (A_1 + A_2) / 2.
      const sample = adjustment.kind === "shared-once" ? adjustment.sample : [];
      const mean = await model.encodeMany(sample.map((_, i) => joined(model, { ...query, contexts: sample }, [i])));
      const size = ssm.length / (layers * heads);
      for (let i = 0; i < ssm.length; i++) {
        const head = Math.floor(i / size);
        const total = 1 + states.reduce((sum, state) => sum + Math.exp(state.logDecay[head]!), 0) / 2;
        const shared = mean.reduce((sum, state) => sum + state.ssm[i]!, 0) / sample.length;
        ssm[i] = sample.length > 0 ? ssm[i]! + (1 - total) * shared : ssm[i]! / total;
      }
    } else {
      for (const [own, other] of [[ssm, best.ssm] as const, [conv, best.conv] as const]) {
        const size = own.length / layers;
        for (let i = 0; i < own.length; i++) if (Math.floor(i / size) !== 1) own[i] = other[i]!;
      }
    }
    const { fingerprint, shape, tokens, logDecay } = composed;
    const state = new ContextState({ fingerprint, shape, tokens, logDecay, ssm, conv });
    const loss = await plainLoss(model, query.prompt, query.target, state);
    expect(Math.abs(measured!.loss - loss) / loss).toBeLessThan(1e-5);
  });
});
