import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { PicasoError } from "../../errors.js";
import { mamba2Config, parsePythonJson } from "../config.js";
import { parameterShapes } from "../parameters.js";
import { fromMambaSsmConfig, hfTensorName, isMambaSsmConfig, withHfNames } from "./mamba-ssm-config.js";
import { openPytorchBin } from "./pytorch-bin.js";

/** config.json of state-spaces/mamba2-130m. */
const small = {
  d_model: 768,
  d_intermediate: 0,
  n_layer: 24,
  vocab_size: 50277,
  ssm_cfg: { layer: "Mamba2" },
  attn_layer_idx: [],
  attn_cfg: {},
  rms_norm: true,
  residual_in_fp32: true,
  fused_add_norm: true,
  pad_vocab_size_multiple: 16,
  tie_embeddings: true,
};

const withSsm = (keys: object) => ({ ...small, ssm_cfg: { layer: "Mamba2", ...keys } });

function failure(value: unknown): PicasoError {
  try {
    fromMambaSsmConfig(value, "config.json");
  } catch (error) {
    expect(error).toBeInstanceOf(PicasoError);
    return error as PicasoError;
  }
  throw new Error("it was read");
}

describe("config.json of mamba_ssm", () => {
  it("turns mamba2-130m into Hugging Face's keys", () => {
    expect(fromMambaSsmConfig(small, "config.json")).toEqual({
      model_type: "mamba2",
      architectures: ["Mamba2ForCausalLM"],
      hidden_size: 768,
      num_hidden_layers: 24,
      num_heads: 24,
      head_dim: 64,
      state_size: 128,
      conv_kernel: 4,
      expand: 2,
      n_groups: 1,
      chunk_size: 256,
      vocab_size: 50288,
      layer_norm_epsilon: 1e-5,
      rms_norm: true,
      hidden_act: "silu",
      residual_in_fp32: true,
      time_step_limit: [0, Number.POSITIVE_INFINITY],
      use_bias: false,
      use_conv_bias: true,
      tie_word_embeddings: true,
      bos_token_id: 0,
      eos_token_id: 0,
    });
  });

  // Widths and layers of the released models; parameters as PyTorch counts them in nn.Linear, nn.Conv1d and the rest.
  it.each([
    ["130m", 768, 24, 24, 128_989_632],
    ["370m", 1024, 48, 32, 368_346_624],
    ["780m", 1536, 48, 48, 780_161_280],
    ["1.3b", 2048, 48, 64, 1_343_757_312],
    ["2.7b", 2560, 64, 80, 2_702_599_680],
  ])("makes a mamba2-%s that the model's reader takes", (_, width, layers, heads, parameters) => {
    const json = fromMambaSsmConfig({ ...small, d_model: width, n_layer: layers }, "config.json");
    const config = mamba2Config(json, "config.json");
    expect(config).toMatchObject({ heads, layers, vocabSize: 50288, eosTokenIds: [0], tiedEmbeddings: true });
    expect(config.timeStepLimit).toEqual([0, Number.POSITIVE_INFINITY]);
    const sizes = [...parameterShapes(config).values()].map((shape) => shape.reduce((a, b) => a * b, 1));
    expect(sizes.reduce((a, b) => a + b, 0)).toBe(parameters);
  });

  it("reads every key of a Mamba2 module", () => {
    const keys = {
      d_state: 64,
      d_conv: 3,
      expand: 4,
      headdim: 32,
      ngroups: 1,
      d_ssm: 3072,
      dt_limit: [0.001, 0.1],
      bias: true,
      conv_bias: false,
      chunk_size: 128,
      norm_before_gate: false,
      rmsnorm: true,
      D_has_hdim: false,
      A_init_range: [1, 16],
      conv_init: null,
      dt_min: 0.001,
      dt_max: 0.1,
      dt_init_floor: 1e-4,
      use_mem_eff_path: true,
      sequence_parallel: true,
    };
    expect(fromMambaSsmConfig(withSsm(keys), "config.json")).toMatchObject({
      state_size: 64,
      conv_kernel: 3,
      expand: 4,
      head_dim: 32,
      num_heads: 96,
      time_step_limit: [0.001, 0.1],
      use_bias: true,
      use_conv_bias: false,
      chunk_size: 128,
    });
  });

  it("takes mamba_ssm's defaults for what is missing", () => {
    const { d_model, n_layer, vocab_size, ssm_cfg } = small;
    const json = fromMambaSsmConfig({ d_model, n_layer, vocab_size, ssm_cfg }, "config.json");
    // 50,277 padded to a multiple of 8.
    expect(json).toMatchObject({ vocab_size: 50280, tie_word_embeddings: true, residual_in_fp32: true });
  });

  it("has a norm for each group of heads", () => {
    const json = fromMambaSsmConfig(withSsm({ ngroups: 8 }), "config.json");
    expect(json).toMatchObject({ n_groups: 8, norm_groups: 8 });
    expect(mamba2Config(json, "config.json")).toMatchObject({ groups: 8, normGroups: 8, convDim: 1536 + 2 * 8 * 128 });
  });

  it("names the end token only for the vocabulary it belongs to", () => {
    const json = fromMambaSsmConfig({ ...small, vocab_size: 32000, pad_vocab_size_multiple: 1 }, "config.json");
    expect(json.vocab_size).toBe(32000);
    expect(json).not.toHaveProperty("eos_token_id");
  });

  it("reads Infinity as Python writes it", () => {
    const text = JSON.stringify(withSsm({ dt_limit: ["LOW", "HIGH"] }));
    const python = text.replace('"LOW"', "0.0").replace('"HIGH"', "Infinity");
    const json = fromMambaSsmConfig(parsePythonJson(python, "config.json"), "config.json");
    expect(json.time_step_limit).toEqual([0, Number.POSITIVE_INFINITY]);
  });

  it("knows which config.json is mamba_ssm's", () => {
    expect(isMambaSsmConfig(small)).toBe(true);
    expect(isMambaSsmConfig(fromMambaSsmConfig(small, "config.json"))).toBe(false);
    for (const other of [null, [], "d_model", {}, { d_model: 1 }]) expect(isMambaSsmConfig(other)).toBe(false);
  });

  it.each<[string, RegExp, object]>([
    ["Mamba-1 layers by name", /ssm_cfg, layer: expected "Mamba2".*found "Mamba1"/, withSsm({ layer: "Mamba1" })],
    ["Mamba-1 layers by default", /ssm_cfg, layer.*found "Mamba1"/, { ...small, ssm_cfg: {} }],
    ["attention layers", /attn_layer_idx.*found \[9,18\]/, { ...small, attn_layer_idx: [9, 18] }],
    ["attention settings", /attn_cfg.*found \{"num_heads":8\}/, { ...small, attn_cfg: { num_heads: 8 } }],
    ["MLP layers", /d_intermediate.*found 2048/, { ...small, d_intermediate: 2048 }],
    ["an MLP inside the mixer", /d_ssm.*found 512/, withSsm({ d_ssm: 512 })],
    ["layer norms", /rms_norm.*found false/, { ...small, rms_norm: false }],
    ["no norm in the mixer", /rmsnorm.*found false/, withSsm({ rmsnorm: false })],
    ["the norm before the gate", /norm_before_gate.*found true/, withSsm({ norm_before_gate: true })],
    ["a D for each channel", /D_has_hdim.*found true/, withSsm({ D_has_hdim: true })],
    ["an unknown key", /config.json, "sliding_window": /, { ...small, sliding_window: 4096 }],
    ["an unknown key of the mixer", /ssm_cfg, "chunk", "mimo": /, withSsm({ chunk: 1, mimo: true })],
  ])("refuses %s", (_, message, value) => {
    const error = failure(value);
    expect(error.code).toBe("unsupported");
    expect(error.message).toMatch(message);
  });

  it.each<[string, RegExp, unknown]>([
    ["no object", /a JSON object, found \[\]/, []],
    ["no width", /d_model: .*found nothing/, { ...small, d_model: undefined }],
    ["no layers", /n_layer/, { ...small, n_layer: null }],
    ["a negative vocabulary", /vocab_size.*found -1/, { ...small, vocab_size: -1 }],
    ["half a layer", /n_layer.*found 0.5/, { ...small, n_layer: 0.5 }],
    ["a width of 2^40", /d_model/, { ...small, d_model: 2 ** 40 }],
    ["padding to 0", /pad_vocab_size_multiple/, { ...small, pad_vocab_size_multiple: 0 }],
    ["groups that do not divide the heads", /ngroups.*24 heads.*found 7/, withSsm({ ngroups: 7 })],
    ["heads that do not fill the width", /headdim.*found 100/, withSsm({ headdim: 100 })],
    ["a limit the wrong way round", /dt_limit/, withSsm({ dt_limit: [1, 0] })],
    ["a limit of three", /dt_limit/, withSsm({ dt_limit: [0, 1, 2] })],
    ["a text for a flag", /tie_embeddings.*found "yes"/, { ...small, tie_embeddings: "yes" }],
    ["a list for ssm_cfg", /ssm_cfg: expected a JSON object/, { ...small, ssm_cfg: [] }],
  ])("finds %s damaged", (_, message, value) => {
    const error = failure(value);
    expect(error.code).toBe("bad-file");
    expect(error.message).toMatch(message);
  });
});

describe("tensor names of mamba_ssm", () => {
  it.each([
    ["backbone.embedding.weight", "backbone.embeddings.weight"],
    ["backbone.norm_f.weight", "backbone.norm_f.weight"],
    ["lm_head.weight", "lm_head.weight"],
    ["backbone.layers.0.norm.weight", "backbone.layers.0.norm.weight"],
    ["backbone.layers.63.mixer.in_proj.weight", "backbone.layers.63.mixer.in_proj.weight"],
    ["backbone.layers.7.mixer.A_log", "backbone.layers.7.mixer.A_log"],
    ["backbone.layers.7.mixer.conv1d.bias", "backbone.layers.7.mixer.conv1d.bias"],
  ])("%s is %s", (name, expected) => {
    expect(hfTensorName(name, "x.bin")).toBe(expected);
  });

  it.each([
    "backbone.embeddings.weight",
    "backbone.layers.0.norm2.weight",
    "backbone.layers.0.mlp.fc1.weight",
    "backbone.layers.0.mixer.x_proj.weight",
    "backbone.layers.0.mixer.dt_proj.bias",
    "backbone.layers.00.mixer.D",
    "backbone.layers.0.mixer.D.weight",
    "backbone.layers.0.mixer.norm.bias",
    "toString",
    "",
  ])("refuses %j", (name) => {
    expect(() => hfTensorName(name, "x.bin")).toThrow(/x\.bin, tensor/);
  });

  it("gives a real state dict exactly the parameters of its config", async () => {
    const path = join(import.meta.dirname, "../../../test/fixtures/pytorch-bin/mamba-ssm.bin");
    const source = await openPytorchBin(path);
    const renamed = withHfNames(source, path);
    const tiny = {
      ...withSsm({ d_state: 4, headdim: 8 }),
      d_model: 8,
      n_layer: 2,
      vocab_size: 15,
      tie_embeddings: false,
    };
    const config = mamba2Config(fromMambaSsmConfig(tiny, "config.json"), "config.json");
    const shapes = Object.fromEntries([...renamed.tensors].map(([name, { shape }]) => [name, shape]));
    expect(shapes).toEqual(Object.fromEntries(parameterShapes(config)));
    for (const [name, tensor] of renamed.tensors) expect(tensor.name).toBe(name);

    const expected = JSON.parse(await readFile(join(path, "../expected.json"), "utf8"))["mamba-ssm"].tensors;
    const bytes = await renamed.read("backbone.embeddings.weight", 16, 32);
    expect(Buffer.from(bytes).toString("hex")).toBe(expected["backbone.embedding.weight"].hex.slice(32, 64));
    expect(renamed.where("backbone.embeddings.weight")).toBe(path);
    await expect(renamed.read("backbone.nothing")).rejects.toMatchObject({ code: "not-found" });
    await renamed.close();
  });
});
