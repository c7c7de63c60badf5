/** A model folder described, without running it. */
import { access } from "node:fs/promises";
import { resolveModelFolder } from "../hub/model-folder.js";
import type { HubOptions } from "../hub/settings.js";
import type { Codec } from "../state/codec.js";
import { type StateShape, stateSizes } from "../state/context-state.js";
import { findModelFiles } from "./checkpoint/model-files.js";
import { compiledFolder } from "./compile.js";
import { type Mamba2Config, stateShape } from "./config.js";
import { Decoder } from "./decode/decoder.js";
import { modelFingerprint } from "./fingerprint.js";
import { loadForm, type ModelForm } from "./form.js";
import { checkParameters } from "./parameters.js";
import type { WeightDtype } from "./quantize.js";
import { Tokenizer } from "./tokenizer.js";

export interface ModelReport {
  directory: string;
  fingerprint: string;
  config: Mamba2Config;
  form: ModelForm;
  parameters: number;
  /** Types that the weights are stored in. */
  dtypes: string[];
  shape: StateShape;
  /** Bytes of one stored state by codec, headers left out. */
  state: Record<Codec, number>;
  /**
   * Bytes of memory that decoding takes by type of weights; null where that is more than WebAssembly can address, and
   * ONNX Runtime decodes instead.
   */
  decoder: Record<WeightDtype, number | null>;
  /** Folder of the compiled graph, or null before the first use. */
  compiled: string | null;
}

/** Reads and checks everything but the weights' values of a model folder, or of `org/name` from the hub. */
export async function inspectModel(directoryOrHubId: string, options: HubOptions = {}): Promise<ModelReport> {
  const files = await findModelFiles(await resolveModelFolder(directoryOrHubId, options));
  const tokenizer = await Tokenizer.load(files.tokenizerFile, files.config.vocabSize);
  const source = await files.openWeights();
  const tensors = [...source.tensors.values()];
  try {
    checkParameters(source, files.config, files.weightFiles[0]!);
  } finally {
    await source.close();
  }
  const fingerprint = await modelFingerprint(files);
  const shape = stateShape(files.config);
  const sizes = stateSizes(shape);
  const values = sizes.ssm + sizes.conv;
  const rows = shape.layers * (shape.heads * shape.stateSize + shape.convWidth);
  const compiled = compiledFolder(fingerprint, "f32");
  const isCompiled = await access(compiled).then(
    () => true,
    () => false,
  );
  return {
    directory: files.directory,
    fingerprint,
    config: files.config,
    form: await loadForm(files.formFile, files.config, tokenizer),
    parameters: tensors.reduce((total, { shape }) => total + shape.reduce((a, b) => a * b, 1), 0),
    dtypes: [...new Set(tensors.map(({ dtype }) => dtype))].sort(),
    shape,
    state: {
      f32: 4 * values + 8 * sizes.logDecay,
      bf16: 2 * values + 8 * sizes.logDecay,
      int8: values + 4 * rows + 8 * sizes.logDecay,
    },
    decoder: {
      f32: Decoder.bytes(files.config, "f32"),
      q8: Decoder.bytes(files.config, "q8"),
      q4: Decoder.bytes(files.config, "q4"),
    },
    compiled: isCompiled ? compiled : null,
  };
}
