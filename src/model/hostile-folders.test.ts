/** Configurations and tokenizers that are damaged, missing, or lie: refused with an error that names file and field. */
import { execFileSync } from "node:child_process";
import { rm, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import {
  asFolder,
  editBytes,
  editConfig,
  editTokenizer,
  remove,
  weightsFile,
  writeJson,
  writeText,
} from "../../test/support/folder-changes.js";
import { makeGoldenFolder } from "../../test/support/golden.js";
import { type RefusedCase, refused } from "../../test/support/refused.js";
import { useScratch } from "../../test/support/scratch.js";
import { LanguageModel } from "./language-model.js";

const scratch = useScratch();
const invalidUtf8 = (bytes: Buffer) => Buffer.concat([bytes.subarray(0, 10), Buffer.of(0xff), bytes.subarray(10)]);

describe("config.json", () => {
  const needed = ["hidden_size", "num_heads", "head_dim", "state_size", "n_groups", "vocab_size", "num_hidden_layers"];
  refused(scratch, "bad-file", "config.json", [
    ["that is empty", writeText("config.json", ""), "JSON"],
    ["that is a folder", asFolder("config.json"), "a directory"],
    ["that is not UTF-8", editBytes("config.json", invalidUtf8), "UTF-8"],
    ["of 2 MB", writeText("config.json", `${" ".repeat(2e6)}{}`), "2000002"],
    ["of 500 kB in one string", writeText("config.json", `{"model_type": "${"x".repeat(5e5)}`), "JSON"],
    ...[...needed, "conv_kernel"].map(
      (key): RefusedCase => [`without ${key}`, editConfig({ [key]: undefined }), `, ${key}:`, "nothing"],
    ),
    ["with 10^9 layers", editConfig({ num_hidden_layers: 1e9 }), "num_hidden_layers", "1000000000"],
    ["with no heads", editConfig({ num_heads: 0 }), "num_heads", "found 0"],
    ["with half a head", editConfig({ num_heads: 0.5 }), "num_heads"],
    ["with a vocabulary of 10^9", editConfig({ vocab_size: 1e9 }), "vocab_size"],
    ["with a width that does not fit", editConfig({ hidden_size: 100 }), "expand"],
    ["with an end beyond the vocabulary", editConfig({ eos_token_id: 50_000 }), "eos_token_id", "288"],
    ["with limits in reverse", editConfig({ time_step_limit: [1, 0] }), "time_step_limit", "[1, 0]"],
  ]);

  refused(scratch, "unsupported", "config.json", [
    ["of another architecture", editConfig({ model_type: "mamba" }), "model_type", '"mamba"'],
    ["without model_type", editConfig({ model_type: undefined }), "model_type", "nothing"],
  ]);

  refused(scratch, "not-found", "config.json", [["that is not there", remove("config.json")]]);

  refused(scratch, "failed", "config.json", [
    [
      "that is a link to itself",
      async (folder) => {
        await rm(join(folder, "config.json"));
        await symlink("config.json", join(folder, "config.json"));
      },
      "ELOOP",
    ],
  ]);
});

describe("a config.json that lies about the weights", () => {
  refused(scratch, "bad-file", weightsFile, [
    ["with more layers than there are", editConfig({ num_hidden_layers: 1000 }), "layers.3.norm.weight", "no such"],
    ["with fewer layers than there are", editConfig({ num_hidden_layers: 2 }), "backbone.layers.2."],
    ["with a vocabulary of 16 million", editConfig({ vocab_size: 1 << 24 }), "embeddings.weight", "[16777216,64]"],
    ["with heads and their size swapped", editConfig({ num_heads: 16, head_dim: 8 }), "in_proj.weight", "[304,64]"],
    ["with another width", editConfig({ hidden_size: 128, head_dim: 32 }), "embeddings.weight", "[288,128]"],
    ["with a large state", editConfig({ state_size: 1 << 20 }), "in_proj.weight", "[2097416,64]"],
    ["with more groups", editConfig({ n_groups: 8 }), "in_proj.weight", "[520,64]"],
    ["with a wider convolution", editConfig({ conv_kernel: 5 }), "conv1d.weight", "[160,1,5]"],
    ["with biases that are not there", editConfig({ use_bias: true }), "in_proj.bias", "no such tensor"],
    ["without biases that are there", editConfig({ use_conv_bias: false }), "conv1d.bias"],
    ["with an output embedding of its own", editConfig({ tie_word_embeddings: false }), "lm_head.weight"],
  ]);
});

describe("tokenizer.json", () => {
  const added = { id: 288, content: "x", special: true };
  refused(scratch, "bad-file", "tokenizer.json", [
    ["that is empty", writeText("tokenizer.json", ""), "JSON"],
    ["that is a folder", asFolder("tokenizer.json"), "a directory"],
    ["that is not JSON", writeText("tokenizer.json", "not JSON"), "model.vocab"],
    ["that is not UTF-8", editBytes("tokenizer.json", invalidUtf8), "UTF-8"],
    ["that is null", writeJson("tokenizer.json", null), "model.vocab"],
    ["without a model", editTokenizer({ model: undefined }), "model.vocab"],
    ["without model.vocab", editTokenizer({}, { vocab: undefined }), "model.vocab"],
    ["with model.vocab null", editTokenizer({}, { vocab: null }), "model.vocab"],
    ["without merges", editTokenizer({}, { merges: undefined })],
    ["without a decoder", editTokenizer({ decoder: undefined }), "decoder"],
    ["with a decoder of its own", editTokenizer({ decoder: { type: "Own" } }), "Own"],
    ["with added tokens that are not a list", editTokenizer({ added_tokens: {} })],
    ["with an empty added token", editTokenizer({ added_tokens: [null] })],
    ["for a larger vocabulary", editTokenizer({}, { vocab: { a: 50_276 } }), "below 288", "vocab_size", "id 50276"],
    ["with an added token beyond the vocabulary", editTokenizer({ added_tokens: [added] }), "vocab_size", "288"],
    ["with a negative id", editTokenizer({}, { vocab: { a: -1 } }), "whole number"],
    ["with an id that is a text", editTokenizer({}, { vocab: { a: "1" } }), "whole number"],
    ["with an id that is a fraction", editTokenizer({}, { vocab: { a: 0.5 } }), "whole number"],
  ]);

  refused(scratch, "not-found", "tokenizer.json", [["that is not there", remove("tokenizer.json")]]);
});

describe("picaso.json", () => {
  const wrong: [field: string, value: unknown][] = [
    ["bos", "yes"],
    ["bos", 1],
    ["bos", null],
    ["passageSuffixIds", 0],
    ["passageSuffixIds", [-1]],
    ["passageSuffixIds", [288]],
    ["passageSuffixIds", ["0"]],
    ["passageSuffixIds", [0.5]],
    ["questionTemplate", 1],
    ["questionTemplate", ""],
    ["questionTemplate", "no place for it"],
    ["questionTemplate", "{question} {question}"],
    ["stop", "\n"],
    ["stop", [""]],
    ["stop", [1]],
    ["stop", null],
    ["unknown", true],
    ["__proto__", {}],
  ];
  refused(scratch, "bad-file", "picaso.json", [
    ["that is empty", writeText("picaso.json", ""), "top level", "JSON"],
    ["that is a folder", asFolder("picaso.json"), "a directory"],
    ...[null, [], 1, "text"].map(
      (value): RefusedCase => [`that is ${JSON.stringify(value)}`, writeJson("picaso.json", value), "top level"],
    ),
    ...wrong.map(
      ([field, value]): RefusedCase => [
        `with ${field} = ${JSON.stringify(value)}`,
        writeText("picaso.json", `{${JSON.stringify(field)}: ${JSON.stringify(value)}}`),
        `picaso.json, ${field}:`,
      ],
    ),
    [
      "with bos, where the model has no such token",
      async (folder) => {
        await editConfig({ bos_token_id: null })(folder);
        await writeJson("picaso.json", { bos: true })(folder);
      },
      "picaso.json, bos:",
    ],
  ]);
});

test.each(["config.json", "tokenizer.json", weightsFile, "picaso.json"])(
  "a pipe as %s is not waited for",
  async (file) => {
    const folder = await makeGoldenFolder("golden-g1", scratch.path("pipe"));
    await rm(join(folder, file), { force: true });
    execFileSync("mkfifo", [join(folder, file)]);
    const message = expect.stringMatching(`${file}: expected a file, found something that is not a regular file`);
    await expect(LanguageModel.load(folder)).rejects.toMatchObject({ code: "bad-file", message });
    await rm(folder, { recursive: true });
  },
);

describe("the folder itself", () => {
  test("that is not there", async () => {
    const folder = scratch.path("nowhere");
    const message = expect.stringContaining(folder);
    await expect(LanguageModel.load(folder)).rejects.toMatchObject({ code: "not-found", message });
  });

  test("that is a file", async () => {
    const path = scratch.path("a-file");
    await writeFile(path, "");
    const message = expect.stringContaining(path);
    await expect(LanguageModel.load(path)).rejects.toMatchObject({ code: "bad-argument", message });
  });
});
