/**
 * The file of one state: safetensors with the tensors `logDecay` [L, H], `ssm` [L, H, N, P] and `conv` [L, W, C], with
 * `ssm.scale` [L, H, N] and `conv.scale` [L, W] for the codec int8, and the metadata of state-header.ts. Letters as in
 * context-state.ts.
 *
 * context-state.ts and this file import each other; each uses the other only inside functions.
 */
import { PicasoError } from "../errors.js";
import { crc32 } from "./checksum.js";
import { type Codec, decodeValues, packTensor, unpackTensor } from "./codec.js";
import { ContextState, type ContextStateInit } from "./context-state.js";
import type { StoredTensor } from "./int8.js";
import { safetensorsHeaderSize, type TensorToWrite, writeSafetensors } from "./safetensors.js";
import { hex, metadataEntries, parseStateHeader, type StateMetadata, sealHeader } from "./state-header.js";

export interface StateFileOptions {
  codec: Codec;
  /** Hash of the text that the state stands for. */
  textHash?: string;
  /** Further strings to keep with the state. */
  extra?: Record<string, string>;
}

/**
 * The bytes of a state file. Decays keep the precision they have. Throws `bad-argument` for a state that could not be
 * read back: values that are not finite or too large for the codec, a decay above one, a token count that is no count.
 */
export function encodeState(state: ContextStateInit, options: StateFileOptions): Uint8Array {
  const { fingerprint, tokens, shape, logDecay, ssm, conv } = state;
  const { layers, heads, stateSize, headDim, convWidth, convDim } = shape;
  const { codec, textHash, extra = {} } = options;
  assertLogDecays(logDecay, "bad-argument", "state, logDecay");
  const tensors: TensorToWrite[] = [
    // First, since as F64 they need the alignment that only the first tensor is sure to have.
    {
      name: "logDecay",
      dtype: logDecay instanceof Float64Array ? "F64" : "F32",
      shape: [layers, heads],
      bytes: new Uint8Array(logDecay.buffer, logDecay.byteOffset, logDecay.byteLength),
    },
    ...packTensor(codec, "ssm", [layers, heads, stateSize, headDim], ssm),
    ...packTensor(codec, "conv", [layers, convWidth, convDim], conv),
  ];
  const dataCrc32 = tensors.reduce((sum, { bytes }) => crc32(bytes, sum), 0);
  const file = writeSafetensors(tensors, metadataEntries({ fingerprint, tokens, codec, textHash, extra, dataCrc32 }));
  sealHeader(file);
  return file;
}

/**
 * The state in the bytes of a state file. Checksums are always verified. Shares memory with `bytes` where it can: do
 * not write to them afterwards. Throws `bad-file` for any damage or contradiction, naming `where`, and `unsupported`
 * for a version or codec that this program does not know.
 */
export function decodeState(bytes: Uint8Array, where: string): ContextState {
  return decodeStateFile(bytes, where).state;
}

/** {@link decodeState}, and what the file says of itself. */
export function decodeStateFile(bytes: Uint8Array, where: string): { state: ContextState; metadata: StateMetadata } {
  const size = safetensorsHeaderSize(bytes.subarray(0, 8), bytes.length, where);
  const { metadata, header } = parseStateHeader(bytes.subarray(8, 8 + size), bytes.length, where);
  const sum = crc32(bytes.subarray(header.dataStart));
  if (sum !== metadata.dataCrc32) throw badFile(`${where}, data`, `CRC-32 ${hex(metadata.dataCrc32)}`, hex(sum));

  const unread = new Set(header.tensors.keys());
  const read = (name: string): StoredTensor => {
    const info = header.tensors.get(name);
    if (info === undefined) throw badFile(where, `a tensor ${name}`, `${[...header.tensors.keys()]}`);
    unread.delete(name);
    return { dtype: info.dtype, shape: info.shape, bytes: bytes.subarray(info.begin, info.end) };
  };
  const { shape: decayShape, values: logDecay } = readLogDecay(read, `${where}, tensor logDecay`);
  const ssm = unpackTensor(metadata.codec, "ssm", read, where);
  const conv = unpackTensor(metadata.codec, "conv", read, where);
  for (const name of unread) throw badFile(where, "only the tensors of a state", `one named ${JSON.stringify(name)}`);

  const [layers, heads, stateSize, headDim] = dimensions(ssm.shape, "L, H, N, P", `${where}, tensor ssm`);
  const [convLayers, convWidth, convDim] = dimensions(conv.shape, "L, W, C", `${where}, tensor conv`);
  const [decayLayers, decayHeads] = dimensions(decayShape, "L, H", `${where}, tensor logDecay`);
  if (convLayers !== layers || decayLayers !== layers || decayHeads !== heads) {
    const found = `ssm [${ssm.shape}], conv [${conv.shape}], logDecay [${decayShape}]`;
    throw badFile(where, "the same L in all tensors and the same H in ssm and logDecay", found);
  }
  const shape = { layers, heads, stateSize, headDim, convWidth, convDim } as ContextStateInit["shape"];
  const { fingerprint, tokens } = metadata;
  const state = new ContextState({ fingerprint, shape, tokens, ssm: ssm.values, conv: conv.values, logDecay });
  return { state, metadata };
}

function readLogDecay(
  read: (name: string) => StoredTensor,
  where: string,
): { shape: number[]; values: Float32Array | Float64Array } {
  const { dtype, shape, bytes } = read("logDecay");
  if (dtype !== "F64" && dtype !== "F32") throw badFile(where, "dtype F64 or F32", dtype);
  const values = dtype === "F32" ? decodeValues("f32", bytes) : new Float64Array(new Uint8Array(bytes).buffer);
  assertLogDecays(values, "bad-file", where);
  return { shape, values };
}

/** Written so that NaN, which compares false, is caught too. */
function assertLogDecays(values: Float32Array | Float64Array, code: "bad-file" | "bad-argument", where: string): void {
  const wrong = values.findIndex((value) => !(value <= 0 && value > -Infinity));
  if (wrong === -1) return;
  throw new PicasoError(code, {
    where: `${where}, value ${wrong}`,
    expected: "a finite number, 0 or less",
    found: String(values[wrong]),
    next: "The state is damaged: encode the passage again.",
  });
}

function dimensions(shape: number[], letters: string, where: string): number[] {
  if (shape.length === letters.split(", ").length) return shape;
  throw badFile(where, `shape [${letters}]`, `[${shape}]`);
}

function badFile(where: string, expected: string, found: string): PicasoError {
  const next = "The file is damaged or no state file: encode the passage again.";
  return new PicasoError("bad-file", { where, expected, found, next });
}
