/**
 * The `__metadata__` of a state file: what the file says of itself, a checksum of the data (data-sum.ts) and a CRC-32
 * of the header, so that a header can be read and trusted without the data. The header's sum is taken with its own
 * digits as zeros.
 */
import { PicasoError } from "../errors.js";
import { crc32 } from "./checksum.js";
import { type Codec, codecChoice, isCodec } from "./codec.js";
import { dataSum, dataSumDigits } from "./data-sum.js";
import { parseSafetensorsHeader, type SafetensorsHeader, safetensorsHeaderSize } from "./safetensors.js";

/** Raised when files can no longer be read as those of this version are. */
const VERSION = "2";
const FORMAT = "picaso-state";

/** The caller's own entries stand under this prefix, apart from the format's. */
const EXTRA = "extra.";

export interface StateMetadata {
  fingerprint: string;
  tokens: number;
  codec: Codec;
  /** Hash of the text that the state stands for. */
  textHash?: string;
  /** Further strings kept with the state. */
  extra: Record<string, string>;
  /** Checksum of the bytes after the header, 32 hexadecimal digits: see data-sum.ts. */
  dataSum: string;
}

/** The entries of `__metadata__`; {@link sealHeader} fills in the sums. Throws `bad-argument`. */
export function metadataEntries(metadata: Omit<StateMetadata, "dataSum">): Record<string, string> {
  const { fingerprint, tokens, codec, textHash, extra } = metadata;
  if (!Number.isSafeInteger(tokens) || tokens < 0) {
    throw badArgument("state, tokens", "a whole number, 0 or more", String(tokens));
  }
  const entries: Record<string, string> = { format: FORMAT, version: VERSION, fingerprint, tokens: `${tokens}`, codec };
  if (textHash !== undefined) entries.textHash = textHash;
  for (const [key, value] of Object.entries(extra)) entries[EXTRA + key] = value;
  entries.dataSum = dataSumDigits({ a: 0n, b: 0n });
  entries.headerCrc32 = hex(0);
  for (const [key, value] of Object.entries(entries)) {
    if (typeof value !== "string") throw badArgument(`state metadata, ${key}`, "a string", typeof value);
  }
  return entries;
}

/** Writes both sums into a file made with {@link metadataEntries}. */
export function sealHeader(file: Uint8Array): void {
  const header = file.subarray(8, 8 + safetensorsHeaderSize(file, file.length, "state"));
  const write = (digits: string, at: number) => header.set(new TextEncoder().encode(digits), at);
  write(dataSumDigits(dataSum(file.subarray(8 + header.length))), digitsAt(header, "dataSum"));
  const at = digitsAt(header, "headerCrc32");
  write(hex(headerCrc32(header, at)), at);
}

/**
 * Checks and reads the JSON header of a state file of `fileSize` bytes (see `safetensorsHeaderSize` for its length).
 * Throws `bad-file` for damage or another kind of file, `unsupported` for a version or codec not known here.
 */
export function parseStateHeader(
  json: Uint8Array,
  fileSize: number,
  where: string,
): { metadata: StateMetadata; header: SafetensorsHeader } {
  const header = parseSafetensorsHeader(json, fileSize, where);
  const entries = new Map(Object.entries(header.metadata));
  const field = (key: string, form: RegExp, expected: string): string => {
    const value = entries.get(key);
    if (value !== undefined && form.test(value)) return value;
    throw badFile(`${where}, metadata ${key}`, expected, value === undefined ? "nothing" : JSON.stringify(value));
  };

  field("format", /^picaso-state$/, `"${FORMAT}"`);
  const version = field("version", /^[0-9]{1,9}$/, "a version number");
  if (version !== VERSION) throw unsupported(`${where}, metadata version`, VERSION, version);
  const sum = field("headerCrc32", /^[0-9a-f]{8}$/, "8 hexadecimal digits");
  const at = digitsAt(json, "headerCrc32");
  if (at === -1) throw badFile(`${where}, header`, "headerCrc32 as this program writes it", "another spelling");
  const actual = hex(headerCrc32(json, at));
  if (sum !== actual) throw badFile(`${where}, header`, `CRC-32 ${sum}`, actual);

  const tokens = Number(field("tokens", /^(0|[1-9][0-9]{0,15})$/, "a whole number"));
  if (!Number.isSafeInteger(tokens)) throw badFile(`${where}, metadata tokens`, "at most 2^53 - 1", `${tokens}`);
  const codec = field("codec", /^/, "a codec's name");
  if (!isCodec(codec)) throw unsupported(`${where}, metadata codec`, codecChoice, JSON.stringify(codec));
  const extra = [...entries].filter(([key]) => key.startsWith(EXTRA)).map(([key, v]) => [key.slice(EXTRA.length), v]);
  const metadata: StateMetadata = {
    fingerprint: field("fingerprint", /^/, "a model's fingerprint"),
    tokens,
    codec,
    extra: Object.fromEntries(extra),
    dataSum: field("dataSum", /^[0-9a-f]{32}$/, "32 hexadecimal digits"),
  };
  if (entries.has("textHash")) metadata.textHash = entries.get("textHash");
  return { metadata, header };
}

/** Offset of the first digit of one of the sums; -1 where it is not spelled as this program writes it. */
function digitsAt(json: Uint8Array, name: "dataSum" | "headerCrc32"): number {
  // One character a byte, so that positions in the text are offsets. Inside strings the quotes would be escaped.
  const key = `"${name}":"`;
  const at = new TextDecoder("latin1").decode(json).lastIndexOf(key);
  return at === -1 ? -1 : at + key.length;
}

function headerCrc32(json: Uint8Array, ownSum: number): number {
  const zeros = new TextEncoder().encode(hex(0));
  return crc32(json.subarray(ownSum + zeros.length), crc32(zeros, crc32(json.subarray(0, ownSum))));
}

/** A CRC-32 as it stands in metadata. */
function hex(sum: number): string {
  return sum.toString(16).padStart(8, "0");
}

function badFile(where: string, expected: string, found: string): PicasoError {
  const next = "The file is damaged or no state file: encode the passage again.";
  return new PicasoError("bad-file", { where, expected, found, next });
}

function unsupported(where: string, expected: string, found: string): PicasoError {
  const next = "The file was written by another version: use that one, or encode the passage again.";
  return new PicasoError("unsupported", { where, expected, found, next });
}

function badArgument(where: string, expected: string, found: string): PicasoError {
  return new PicasoError("bad-argument", { where, expected, found, next: "Correct the state before storing it." });
}
