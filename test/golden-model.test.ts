/** The engine against golden data of an independent float64 implementation. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { compose } from "../src/compose/compose.js";
import { LanguageModel } from "../src/model/language-model.js";
import type { ContextState } from "../src/state/context-state.js";
import { Golden, type GoldenName, makeGoldenFolder, relativeError } from "./support/golden.js";
import { useScratch } from "./support/scratch.js";

/** What is required, relative to the largest value of each tensor. */
const tolerance = 1e-4;
const methods = ["soup", "caso", "picaso-s", "picaso-r"] as const;
const counts = [1, 2, 3, 4];

const scratch = useScratch();

describe.each<GoldenName>(["golden-g1", "golden-g2"])("%s", (name) => {
  let golden: Golden;
  let model: LanguageModel;
  /** Largest error by kind of tensor, for the record. */
  const measured = new Map<string, number>();

  beforeAll(async () => {
    golden = await Golden.read(name);
    model = await LanguageModel.load(await makeGoldenFolder(name, scratch.path(name)), { threads: 1 });
  });
  afterAll(async () => {
    await model?.dispose();
    const list = [...measured].map(([kind, error]) => `${kind} ${error.toExponential(1)}`);
    console.log(`${name}, largest error relative to the tensor's largest value: ${list.join(", ")}`);
  });

  function compare(kind: string, found: ArrayLike<number>, reference: ArrayLike<number>): void {
    const error = relativeError(found, reference);
    measured.set(kind, Math.max(measured.get(kind) ?? 0, error));
    expect(error, kind).toBeLessThan(tolerance);
  }

  function compareState(state: ContextState, reference: string): void {
    compare("ssm", state.ssm, golden.ssm(reference));
    compare("conv", state.conv, golden.values(`${reference}.conv`));
    compare("logDecay", state.logDecay, golden.values(`${reference}.logdecay`));
  }

  test.each([1, 2, 5, 37, 100])("%i tokens from the zero state", async (count) => {
    const ids = golden.values(`T${count}.ids`);
    const { logits, state } = await model.forward(ids, { logits: "all" });
    expect(state.tokens).toBe(count);
    compare("logits", logits, golden.values(`T${count}.logits`));
    compareState(state, `T${count}`);
  });

  test.each([0, 1, 2, 3])("the state of context %i", async (context) => {
    compareState(await model.encode(golden.values(`ctx${context}.ids`)), `ctx${context}`);
  });

  test("the query from each composed state", async () => {
    const query = golden.values("query.ids");
    for (const reference of [...methods.flatMap((method) => counts.map((n) => `${method}.${n}`)), "concat.4"]) {
      const { logits } = await model.forward(query, { state: golden.state(reference, model), logits: "all" });
      compare("logits from a composed state", logits, golden.values(`${reference}.logits`));
    }
  });

  test.each(methods)("encode the contexts, compose them by %s, forward the query", async (method) => {
    const query = golden.values("query.ids");
    const states = await model.encodeMany([0, 1, 2, 3].map((context) => golden.values(`ctx${context}.ids`)));
    for (const n of counts) {
      const state = compose(states.slice(0, n), method);
      const reference = `${method}.${n}`;
      compare("composed ssm", state.ssm, golden.ssm(reference));
      compare("composed conv", state.conv, golden.values(`${reference}.conv`));
      compare("composed logDecay", state.logDecay, golden.values(`${reference}.logdecay`));
      const { logits } = await model.forward(query, { state, logits: "all" });
      compare("logits of the whole way", logits, golden.values(`${reference}.logits`));
    }
  });

  test("the contexts one after the other, each from the state of those before", async () => {
    let state = model.zeroState();
    for (const context of [0, 1, 2, 3]) {
      ({ state } = await model.forward(golden.values(`ctx${context}.ids`), { state, logits: "none" }));
    }
    compareState(state, "concat.4");
  });
});
