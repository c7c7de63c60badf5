/** Checkpoints of mamba_ssm with several groups, each normalised on its own, against plain loops in float64. */
import { rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { makeGoldenFolder, relativeError } from "../../test/support/golden.js";
import { randomTokens } from "../../test/support/random-tokens.js";
import { useScratch } from "../../test/support/scratch.js";
import { writeTensorFile } from "../../test/support/tensor-file.js";
import { Random } from "../evaluate/random.js";
import { loadEngine, trainingEngines } from "../train/engines.js";
import { mamba2Config } from "./config.js";
import { LanguageModel } from "./language-model.js";
import { parameterShapes } from "./parameters.js";

const scratch = useScratch();

const [D, L, H, P, N, G, K, V] = [24, 2, 6, 8, 4, 3, 4, 288];
const inner = H * P;
const channels = inner + 2 * G * N;
const json = {
  ...{ model_type: "mamba2", hidden_size: D, num_hidden_layers: L, num_heads: H, head_dim: P, state_size: N },
  ...{ n_groups: G, conv_kernel: K, expand: 2, vocab_size: V, layer_norm_epsilon: 1e-5, tie_word_embeddings: true },
};

/** A model folder with random weights, each norm of a group told apart by the sizes of its inputs. */
async function makeFolder(name: string, config: object): Promise<Map<string, Float32Array>> {
  const folder = await makeGoldenFolder("golden-g1", scratch.path(name));
  const random = Random.of(5);
  const weights = new Map<string, Float32Array>();
  for (const [parameter, shape] of parameterShapes(mamba2Config(json, "test"))) {
    const size = shape.reduce((a, b) => a * b, 1);
    const near = /norm|\.D$/.test(parameter) ? 1 : 0;
    weights.set(
      parameter,
      Float32Array.from({ length: size }, () => near + (random.float() - 0.5)),
    );
  }
  const tensors = [...weights].map(([parameter, values]) => ({
    ...{ name: parameter, dtype: "F32" as const, shape: parameterShapes(mamba2Config(json, "test")).get(parameter)! },
    bytes: new Uint8Array(values.buffer),
  }));
  await rm(join(folder, "model.safetensors"));
  await writeTensorFile(join(folder, "model.safetensors"), tensors);
  await writeFile(join(folder, "config.json"), JSON.stringify(config));
  return weights;
}

/** The same model as mamba_ssm writes it. */
const mambaSsm = {
  ...{ d_model: D, n_layer: L, vocab_size: V, rms_norm: true, tie_embeddings: true },
  ssm_cfg: { layer: "Mamba2", d_state: N, d_conv: K, expand: 2, headdim: P, ngroups: G },
};

test.each([
  ["Hugging Face's config.json, one norm", 1, json],
  ["mamba_ssm's config.json, a norm for each group", G, mambaSsm],
] as const)("%s", async (_, normGroups, config) => {
  const weights = await makeFolder(`norms-${normGroups}`, config);
  const model = await LanguageModel.load(scratch.path(`norms-${normGroups}`), { threads: 1 });
  const tokens = randomTokens(19, V);
  const { logits } = await model.forward(tokens, { logits: "all" });
  const reference = logitsByLoops(weights, tokens, normGroups);
  expect(relativeError(logits, reference.flat())).toBeLessThan(1e-5);
  // The other reading of the same weights is another function.
  const other = logitsByLoops(weights, tokens, normGroups === 1 ? G : 1);
  expect(relativeError(logits, other.flat())).toBeGreaterThan(1e-2);
  // Token by token, as texts are generated.
  const advance = model.continueFrom([model.zeroState()]);
  for (const [i, token] of tokens.entries()) {
    const [predictions] = await advance([{ tokens: [token], rows: [0] }]);
    expect(relativeError(predictions!.logits, reference[i]!)).toBeLessThan(1e-5);
  }
  await model.dispose();
});

test("another function, another fingerprint; one norm written out is the same model", async () => {
  const fingerprints: string[] = [];
  for (const [i, groups] of [undefined, 1, G].entries()) {
    await makeFolder(`fingerprint-${i}`, { ...json, ...(groups && { norm_groups: groups }) });
    const model = await LanguageModel.load(scratch.path(`fingerprint-${i}`), { threads: 1 });
    fingerprints.push(model.fingerprint);
    await model.dispose();
  }
  expect(fingerprints[1]).toBe(fingerprints[0]);
  expect(fingerprints[2]).not.toBe(fingerprints[0]);
});

test.each(trainingEngines)("%s refuses to train it", async (engine) => {
  const start = await loadEngine(engine);
  const options = {
    method: "soup",
    mode: "bptc",
    wanted: new Set<string>(),
    groupTokens: 64,
    groupContexts: 4,
  } as const;
  const started = start(mamba2Config({ ...json, norm_groups: G }, "test"), options);
  await expect(started).rejects.toMatchObject({ code: "unsupported", details: { where: "training, norm_groups" } });
});

/** Logits [T][V], token by token. */
function logitsByLoops(weights: Map<string, Float32Array>, tokens: readonly number[], normGroups: number): number[][] {
  const get = (name: string) => weights.get(name)!;
  const silu = (x: number) => x / (1 + Math.exp(-x));
  const norm = (x: number[], weight: Float32Array, parts: number) => {
    const size = x.length / parts;
    return x.map((value, i) => {
      const part = x.slice(Math.floor(i / size) * size, (Math.floor(i / size) + 1) * size);
      const meanSquare = part.reduce((sum, v) => sum + v * v, 0) / size;
      return (value / Math.sqrt(meanSquare + 1e-5)) * weight[i]!;
    });
  };
  const product = (x: number[], weight: Float32Array) =>
    Array.from({ length: weight.length / x.length }, (_, row) =>
      x.reduce((sum, value, column) => sum + value * weight[row * x.length + column]!, 0),
    );
  const embeddings = get("backbone.embeddings.weight");
  let xs = tokens.map((id) => Array.from(embeddings.subarray(id * D, (id + 1) * D)));
  for (let layer = 0; layer < L; layer++) {
    const name = `backbone.layers.${layer}`;
    const of = (part: string) => get(`${name}.mixer.${part}`);
    const inputs: number[][] = Array.from({ length: K - 1 }, () => new Array<number>(channels).fill(0));
    const state = Array.from({ length: H * N * P }, () => 0);
    xs = xs.map((x) => {
      const projected = product(norm(x, get(`${name}.norm.weight`), 1), of("in_proj.weight"));
      inputs.push(projected.slice(inner, inner + channels));
      const convolved = Array.from({ length: channels }, (_, c) => {
        let sum = of("conv1d.bias")[c]!;
        for (let k = 0; k < K; k++) sum += of("conv1d.weight")[c * K + k]! * inputs[inputs.length - K + k]![c]!;
        return silu(sum);
      });
      const y = new Array<number>(inner);
      for (let h = 0; h < H; h++) {
        const dt = Math.log1p(Math.exp(projected[inner + channels + h]! + of("dt_bias")[h]!));
        const decay = Math.exp(-Math.exp(of("A_log")[h]!) * dt);
        const group = Math.floor(h / (H / G));
        for (let p = 0; p < P; p++) {
          const u = convolved[h * P + p]!;
          let sum = of("D")[h]! * u;
          for (let n = 0; n < N; n++) {
            const at = (h * N + n) * P + p;
            state[at] = decay * state[at]! + convolved[inner + group * N + n]! * dt * u;
            sum += convolved[inner + G * N + group * N + n]! * state[at]!;
          }
          y[h * P + p] = sum;
        }
      }
      const gated = y.map((value, i) => value * silu(projected[i]!));
      const output = product(norm(gated, of("norm.weight"), normGroups), of("out_proj.weight"));
      return x.map((value, i) => value + output[i]!);
    });
  }
  return xs.map((x) => product(norm(x, get("backbone.norm_f.weight"), 1), embeddings));
}
