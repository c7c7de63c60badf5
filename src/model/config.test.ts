import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { fixture } from "../../test/support/golden.js";
import { PicasoError } from "../errors.js";
import { mamba2Config, parseMamba2Config, parsePythonJson, stateShape } from "./config.js";

const g1 = JSON.parse(readFileSync(fixture("golden-g1", "config.json"), "utf8")) as Record<string, unknown>;
const g2 = JSON.parse(readFileSync(fixture("golden-g2", "config.json"), "utf8")) as Record<string, unknown>;

function fail(run: () => unknown): PicasoError {
  try {
    run();
  } catch (error) {
    if (PicasoError.isInstance(error)) return error;
    throw error;
  }
  throw new Error("it was accepted");
}

describe("parsePythonJson", () => {
  test("reads the numbers that Python writes and JSON lacks", () => {
    expect(parsePythonJson("[Infinity, -Infinity, NaN, 1]", "file")).toEqual([
      { __float__: "Infinity" },
      { __float__: "-Infinity" },
      { __float__: "NaN" },
      1,
    ]);
  });

  test.each([
    '{"a": "Infinity"}',
    '{"a": "to -Infinity, and NaN"}',
    '{"a": "a quote \\" and Infinity"}',
    '{"Infinity": "\\\\", "NaN": "\\\\\\" NaN"}',
  ])("leaves strings alone: %s", (text) => {
    expect(parsePythonJson(text, "file")).toEqual(JSON.parse(text));
  });

  test.each(["", "{", "Infinityx", '{"a": Infinity', '{"a": "Infinity', "{Infinity: 1}", "undefined"])(
    "refuses %j",
    (text) => {
      const error = fail(() => parsePythonJson(text, "dir/config.json"));
      expect(error.code).toBe("bad-file");
      expect(error.message).toMatch(/^dir\/config\.json: expected JSON/);
    },
  );

  test("takes a time in proportion to the text, whatever stands in it", () => {
    const start = performance.now();
    for (const text of [
      '\\"'.repeat(500_000),
      `"${"a".repeat(1_000_000)}`,
      `"${'\\"'.repeat(500_000)}`,
      "[".repeat(1e6),
    ]) {
      fail(() => parsePythonJson(text, "file"));
    }
    expect(parsePythonJson(`"${"a".repeat(1_000_000)}"`, "file")).toHaveLength(1_000_000);
    // Quadratic scanning takes minutes.
    expect(performance.now() - start).toBeLessThan(5000);
  });
});

describe("a checkpoint's config", () => {
  test("gives the sizes of a model with one group", () => {
    expect(mamba2Config(g1, "config.json")).toEqual({
      vocabSize: 288,
      hiddenSize: 64,
      layers: 3,
      heads: 8,
      headDim: 16,
      stateSize: 16,
      groups: 1,
      innerSize: 128,
      convKernel: 4,
      convDim: 160,
      epsilon: 1e-5,
      timeStepLimit: [0, Number.POSITIVE_INFINITY],
      useBias: false,
      useConvBias: true,
      tiedEmbeddings: true,
      bosTokenId: 0,
      eosTokenIds: [2],
    });
  });

  test("gives groups, biases and limits where it has them", () => {
    const config = mamba2Config(g2, "config.json");
    expect(config).toMatchObject({ groups: 2, convDim: 96 + 2 * 2 * 24, useBias: true, tiedEmbeddings: false });
    expect(config.timeStepLimit).toEqual([0.01, 0.5]);
    expect(stateShape(config)).toEqual({ layers: 2, heads: 6, stateSize: 24, headDim: 16, convWidth: 3, convDim: 192 });
  });

  test.each([
    ["bare, as Python writes it", "[0.0, Infinity]"],
    ["as transformers 5 writes it", '[0.0, {"__float__": "Infinity"}]'],
    ["as a number too large", "[0.0, 1e999]"],
    ["by default", "null"],
  ])("reads an infinite limit %s", (_, limit) => {
    const text = JSON.stringify({ ...g1, time_step_limit: "LIMIT" }).replace('"LIMIT"', limit);
    expect(parseMamba2Config(text, "config.json").timeStepLimit).toEqual([0, Number.POSITIVE_INFINITY]);
  });

  test("reads the shape of Mamba-Codestral-7B, with 8 groups", () => {
    const codestral = { hidden_size: 4096, num_heads: 128, head_dim: 64, state_size: 128, n_groups: 8, expand: 2 };
    const text = JSON.stringify({ ...g1, ...codestral, num_hidden_layers: 64, vocab_size: 32768 });
    const config = parseMamba2Config(text, "config.json");
    expect(config).toMatchObject({ groups: 8, innerSize: 8192, convDim: 8192 + 2 * 8 * 128 });
  });

  test("has defaults for what transformers leaves out", () => {
    const { expand, hidden_act, layer_norm_epsilon, time_step_limit, use_bias, use_conv_bias, ...needed } = g1;
    const { tie_word_embeddings, bos_token_id, eos_token_id, ...rest } = needed;
    expect(mamba2Config(rest, "config.json")).toMatchObject({
      epsilon: 1e-5,
      timeStepLimit: [0, Number.POSITIVE_INFINITY],
      useBias: false,
      useConvBias: true,
      tiedEmbeddings: false,
      bosTokenId: null,
      eosTokenIds: [],
    });
  });

  test.each([
    [
      [2, 3],
      [2, 3],
    ],
    [2, [2]],
    [null, []],
    [[], []],
  ])("reads eos_token_id %j", (value, expected) => {
    expect(mamba2Config({ ...g1, eos_token_id: value }, "config.json").eosTokenIds).toEqual(expected);
  });

  const needed = ["hidden_size", "num_heads", "head_dim", "state_size", "n_groups", "vocab_size"];
  describe.each([...needed, "num_hidden_layers", "conv_kernel"])("%s", (key) => {
    test.each([undefined, null, "64", 0, -1, 1.5, 1e9, Number.MAX_VALUE, true, [64], {}])("is not %j", (value) => {
      const error = fail(() => mamba2Config({ ...g1, [key]: value }, "dir/config.json"));
      expect(error.code).toBe("bad-file");
      expect(error.details.where).toBe(`dir/config.json, ${key}`);
      expect(error.message).toContain("expected an integer from");
    });
  });

  test.each<[field: string, value: unknown]>([
    ["expand", 0],
    ["expand", "2"],
    ["expand", 3],
    ["n_groups", 3],
    ["hidden_act", "gelu"],
    ["hidden_act", 1],
    ["layer_norm_epsilon", 0],
    ["layer_norm_epsilon", -1e-5],
    ["layer_norm_epsilon", "1e-5"],
    ["layer_norm_epsilon", Number.POSITIVE_INFINITY],
    ["layer_norm_epsilon", { __float__: "Infinity" }],
    ["time_step_limit", [0]],
    ["time_step_limit", [0, 1, 2]],
    ["time_step_limit", [0.5, 0.01]],
    ["time_step_limit", [-1, 1]],
    ["time_step_limit", [0, "Infinity"]],
    ["time_step_limit", [0, { __float__: "NaN" }]],
    ["time_step_limit", [0, { __float__: "-Infinity" }]],
    ["time_step_limit", [{ __float__: "Infinity" }, { __float__: "Infinity" }]],
    ["time_step_limit", [0, { float: "Infinity" }]],
    ["time_step_limit", 0.1],
    ["time_step_limit", {}],
    ["use_bias", "false"],
    ["use_bias", 0],
    ["use_conv_bias", 1],
    ["tie_word_embeddings", "yes"],
    ["bos_token_id", -1],
    ["bos_token_id", 288],
    ["bos_token_id", "0"],
    ["eos_token_id", 0.5],
    ["eos_token_id", 288],
    ["eos_token_id", [0, null]],
    ["eos_token_id", {}],
  ])("refuses %s = %j", (field, value) => {
    const error = fail(() => mamba2Config({ ...g1, [field]: value }, "dir/config.json"));
    expect(error.code).toBe("bad-file");
    expect(error.details.where).toBe(`dir/config.json, ${field}`);
    expect(error.details.found.length).toBeLessThan(120);
  });

  test.each([undefined, null, "mamba", "Mamba2", 2, ["mamba2"]])("refuses model_type %j as unsupported", (value) => {
    const error = fail(() => mamba2Config({ ...g1, model_type: value }, "dir/config.json"));
    expect(error.code).toBe("unsupported");
    expect(error.message).toMatch(/^dir\/config\.json, model_type: expected "mamba2"/);
  });

  test.each([null, 1, "text", [], [g1]])("refuses %j at the top level", (value) => {
    const error = fail(() => mamba2Config(value, "dir/config.json"));
    expect(error.details.where).toBe("dir/config.json, top level");
  });

  test("keeps the message short, whatever the file holds", () => {
    let deep: unknown = 1;
    for (let i = 0; i < 100_000; i++) deep = [deep];
    for (const value of [deep, "x".repeat(1e6), Array(1e5).fill(-1), { a: deep }]) {
      for (const field of ["hidden_size", "model_type", "time_step_limit", "eos_token_id"]) {
        expect(fail(() => mamba2Config({ ...g1, [field]: value }, "config.json")).message.length).toBeLessThan(400);
      }
    }
  });

  test("takes fields that objects inherit for absent", () => {
    const error = fail(() => parseMamba2Config('{"__proto__": {"model_type": "mamba2"}}', "config.json"));
    expect(error.details.where).toBe("config.json, model_type");
  });
});
