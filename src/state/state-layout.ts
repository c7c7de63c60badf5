/**
 * Where the parts of a state stand in its file, known from the header alone: enough to read, or to sum, parts of it
 * without the rest. Letters as in context-state.ts.
 */
import { PicasoError } from "../errors.js";
import type { Codec } from "./codec.js";
import type { StateShape } from "./context-state.js";
import { scaleName } from "./int8.js";
import type { SafetensorsDtype, SafetensorsHeader, TensorInfo } from "./safetensors.js";

/** A tensor as its codec stores it. */
export interface StoredTensor {
  values: TensorInfo;
  /** int8: one for each row along the last axis; null for other codecs. */
  scales: TensorInfo | null;
}

export interface StateLayout {
  shape: StateShape;
  /** F64 or F32, [L, H] */
  logDecay: TensorInfo;
  /** [L, H, N, P] */
  ssm: StoredTensor;
  /** [L, W, C] */
  conv: StoredTensor;
  /** Offset of the first data byte, and after the last one. */
  dataStart: number;
  dataEnd: number;
}

const dtypes: Record<Codec, SafetensorsDtype> = { f32: "F32", bf16: "BF16", int8: "I8" };

/** Throws `bad-file`, naming `where`, unless the tensors are those of one state in this codec, and nothing else. */
export function stateLayout(
  { tensors, dataStart }: SafetensorsHeader,
  codec: Codec,
  fileSize: number,
  where: string,
): StateLayout {
  const unread = new Set(tensors.keys());
  const find = (name: string, wanted: SafetensorsDtype[], rank: string): TensorInfo => {
    const info = tensors.get(name);
    if (info === undefined) throw badFile(where, `a tensor ${name}`, `${[...tensors.keys()]}`);
    unread.delete(name);
    const at = `${where}, tensor ${name}`;
    const expected = `dtype ${wanted.join(" or ")}${name === "logDecay" ? "" : ` for codec ${codec}`}`;
    if (!wanted.includes(info.dtype)) throw badFile(at, expected, info.dtype);
    if (info.shape.length !== rank.split(", ").length) throw badFile(at, `shape [${rank}]`, `[${info.shape}]`);
    return info;
  };
  const findStored = (name: string, rank: string): StoredTensor => {
    const values = find(name, [dtypes[codec]], rank);
    if (codec !== "int8") return { values, scales: null };
    const scales = find(scaleName(name), ["F32"], rank.slice(0, rank.lastIndexOf(",")));
    const rows = values.shape.slice(0, -1);
    if (`${scales.shape}` === `${rows}`) return { values, scales };
    throw badFile(
      `${where}, tensor ${scaleName(name)}`,
      `shape [${rows}], one scale for each row`,
      `[${scales.shape}]`,
    );
  };
  const logDecay = find("logDecay", ["F64", "F32"], "L, H");
  const ssm = findStored("ssm", "L, H, N, P");
  const conv = findStored("conv", "L, W, C");
  for (const name of unread) throw badFile(where, "only the tensors of a state", `one named ${JSON.stringify(name)}`);

  const [layers, heads, stateSize, headDim] = ssm.values.shape as [number, number, number, number];
  const [convLayers, convWidth, convDim] = conv.values.shape as [number, number, number];
  const [decayLayers, decayHeads] = logDecay.shape;
  if (convLayers !== layers || decayLayers !== layers || decayHeads !== heads) {
    const found = `ssm [${ssm.values.shape}], conv [${conv.values.shape}], logDecay [${logDecay.shape}]`;
    throw badFile(where, "the same L in all tensors and the same H in ssm and logDecay", found);
  }
  const shape = { layers, heads, stateSize, headDim, convWidth, convDim };
  return { shape, logDecay, ssm, conv, dataStart, dataEnd: fileSize };
}

function badFile(where: string, expected: string, found: string): PicasoError {
  const next = "The file is damaged or no state file: encode the passage again.";
  return new PicasoError("bad-file", { where, expected, found, next });
}
