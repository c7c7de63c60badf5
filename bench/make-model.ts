/**
 * A Mamba-2 model folder with random weights, for measuring speed on shapes whose checkpoints are large downloads:
 * `npx tsx bench/make-model.ts mamba2-130m FOLDER [seed]`. Shapes are those of the state-spaces/mamba2-* releases.
 *
 * Weights are drawn as Mamba-2 initialises them (Dao and Gu, "Transformers are SSMs", arXiv 2405.21060, and its code):
 * transitions A from 1 to 16, time steps from 0.001 to 0.1, linear weights within one over the root of their inputs.
 * Norms and D, which begin at 1 there, are drawn around 1, so that no part of the model can be left out unnoticed.
 */
import { mkdir, rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { Random } from "../src/evaluate/random.js";
import { mamba2Config } from "../src/model/config.js";
import { parameterShapes } from "../src/model/parameters.js";
import { writeSafetensors } from "../src/state/safetensors.js";
import { tinyTokenizer } from "../test/support/tiny-tokenizer.js";

/** Width and layers of each shape. */
const shapes = { "mamba2-130m": [768, 24], "mamba2-370m": [1024, 48], "mamba2-780m": [1536, 48] } as const;

export type ShapeName = keyof typeof shapes;

/** Writes config.json, model.safetensors (f32) and a tokenizer.json of bytes into `folder`; weights follow the seed. */
export async function makeModel(name: ShapeName, folder: string, seed = 0): Promise<void> {
  const [width, layers] = shapes[name];
  const json = {
    model_type: "mamba2",
    hidden_size: width,
    num_hidden_layers: layers,
    num_heads: (2 * width) / 64,
    head_dim: 64,
    state_size: 128,
    conv_kernel: 4,
    expand: 2,
    n_groups: 1,
    vocab_size: 50288,
    layer_norm_epsilon: 1e-5,
    tie_word_embeddings: true,
    bos_token_id: 0,
    eos_token_id: 0,
  };
  const parameters = parameterShapes(mamba2Config(json, name));
  const tensors = Array.from(parameters, ([parameter, shape], index) => {
    const values = new Float32Array(shape.reduce((a, b) => a * b, 1));
    const draw = drawer(parameter, shape, layers, Random.of(seed, index));
    for (let i = 0; i < values.length; i++) values[i] = draw();
    return { name: parameter, dtype: "F32" as const, shape, bytes: new Uint8Array(values.buffer) };
  });
  await mkdir(folder, { recursive: true });
  await writeFile(join(folder, "config.json"), JSON.stringify(json, null, 1));
  await writeFile(join(folder, "tokenizer.json"), tinyTokenizer(json.vocab_size));
  // Under its name only when whole: callers take a folder with this file in it for made.
  const weights = join(folder, "model.safetensors");
  await writeFile(`${weights}.tmp`, writeSafetensors(tensors, { format: "pt" }));
  await rename(`${weights}.tmp`, weights);
}

/** How the values of a parameter are drawn. */
function drawer(parameter: string, shape: number[], layers: number, random: Random): () => number {
  const uniform = (low: number, high: number) => low + (high - low) * (random.uint32() / 2 ** 32);
  const within = (bound: number) => () => uniform(-bound, bound);
  if (parameter.endsWith(".A_log")) return () => Math.log(uniform(1, 16));
  if (parameter.endsWith(".dt_bias")) {
    // The inverse of softplus, of time steps even in their logarithm.
    return () => Math.log(Math.expm1(Math.exp(uniform(Math.log(1e-3), Math.log(0.1)))));
  }
  if (parameter.includes("norm") || parameter.endsWith(".D")) return () => uniform(0.5, 1.5);
  if (parameter.includes("conv1d")) return within(1 / Math.sqrt(4));
  // The standard deviation of embeddings is 0.02; a uniform draw's is its bound over the root of 3.
  if (parameter.includes("embeddings")) return within(0.02 * Math.sqrt(3));
  const bound = 1 / Math.sqrt(shape.at(-1)!);
  return within(parameter.includes("out_proj") ? bound / Math.sqrt(layers) : bound);
}

// By its name, since it may be part of a bundle with another program.
if (/make-model\.[jt]s$/.test(process.argv[1] ?? "")) {
  const [name, folder, seed] = process.argv.slice(2);
  if (!name || !Object.hasOwn(shapes, name) || !folder) {
    console.error(`usage: npx tsx bench/make-model.ts ${Object.keys(shapes).join("|")} FOLDER [seed]`);
    process.exit(2);
  }
  await makeModel(name as ShapeName, folder, Number(seed ?? 0));
}
