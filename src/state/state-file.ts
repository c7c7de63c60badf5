/**
 * The file of one state: safetensors with the tensors `logDecay` [L, H], `ssm` [L, H, N, P] and `conv` [L, W, C], with
 * `ssm.scale` [L, H, N] and `conv.scale` [L, W] for the codec int8, and the metadata of state-header.ts. Letters as in
 * context-state.ts.
 *
 * context-state.ts and this file import each other; each uses the other only inside functions.
 */
import { PicasoError } from "../errors.js";
import { type Codec, decodeValues, packTensor, unpackTensor } from "./codec.js";
import { ContextState, type ContextStateInit } from "./context-state.js";
import { dataSum, dataSumDigits } from "./data-sum.js";
import { safetensorsHeaderSize, type TensorInfo, type TensorToWrite, writeSafetensors } from "./safetensors.js";
import { metadataEntries, parseStateHeader, type StateMetadata, sealHeader } from "./state-header.js";
import { type StateLayout, type StoredTensor, stateLayout } from "./state-layout.js";

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
  const file = writeSafetensors(tensors, metadataEntries({ fingerprint, tokens, codec, textHash, extra }));
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
  const { metadata, layout } = parseStateLayout(bytes.subarray(8, 8 + size), bytes.length, where);
  const sum = dataSumDigits(dataSum(bytes.subarray(layout.dataStart)));
  if (sum !== metadata.dataSum) throw wrongSum(metadata, sum, where);

  const part = ({ begin, end }: TensorInfo) => bytes.subarray(begin, end);
  const unpack = (name: string, { values, scales }: StoredTensor) => {
    const stored = { values: part(values), scales: scales && part(scales), width: values.shape.at(-1)! };
    return unpackTensor(metadata.codec, stored, name, where);
  };
  const { fingerprint, tokens } = metadata;
  const state = new ContextState({
    fingerprint,
    shape: layout.shape,
    tokens,
    ssm: unpack("ssm", layout.ssm),
    conv: unpack("conv", layout.conv),
    logDecay: decodeLogDecay(part(layout.logDecay), layout.logDecay.dtype, where),
  });
  return { state, metadata };
}

/** The header of a state file of `fileSize` bytes, fully checked. Throws as {@link decodeState}. */
export function parseStateLayout(
  json: Uint8Array,
  fileSize: number,
  where: string,
): { metadata: StateMetadata; layout: StateLayout } {
  const { metadata, header } = parseStateHeader(json, fileSize, where);
  return { metadata, layout: stateLayout(header, metadata.codec, fileSize, where) };
}

/** The decays in their tensor's bytes, F64 or F32. Throws `bad-file` for decays that none can be. */
export function decodeLogDecay(bytes: Uint8Array, dtype: string, where: string): Float32Array | Float64Array {
  const values = dtype === "F32" ? decodeValues("f32", bytes) : new Float64Array(new Uint8Array(bytes).buffer);
  assertLogDecays(values, "bad-file", `${where}, tensor logDecay`);
  return values;
}

/** The error for data that do not have the checksum that the header tells. */
export function wrongSum(metadata: StateMetadata, found: string, where: string): PicasoError {
  const next = "The file is damaged: encode the passage again.";
  return new PicasoError("bad-file", {
    where: `${where}, data`,
    expected: `the checksum ${metadata.dataSum}`,
    found,
    next,
  });
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

/** The error for a state's file that the system does not let us read: `not-found` where there is none, else `failed`. */
export function cannotReadState(path: string, cause: unknown): PicasoError {
  const missing = (cause as { code?: string }).code === "ENOENT";
  return new PicasoError(missing ? "not-found" : "failed", {
    where: path,
    expected: "a state file that can be read",
    found: missing ? "nothing" : (cause as Error).message,
    next: "Run `picaso verify` to see what else is missing, then `picaso index PATH...` to encode it again.",
    cause,
  });
}
