/** The two errors of a Parquet file that cannot be read: it is damaged, or whole but in a form not read here. */
import { PicasoError } from "../../errors.js";

export function damagedParquet(where: string, expected: string, found: string, cause?: unknown): PicasoError {
  const next = "The file is damaged or is no Parquet file: download or convert it again.";
  return new PicasoError("bad-file", { where, expected, found, next, cause });
}

export function unsupportedParquet(where: string, expected: string, found: string): PicasoError {
  const next = "Write it again with other settings (such as pyarrow's own), or convert it to JSON Lines.";
  return new PicasoError("unsupported", { where, expected, found, next });
}

/** Runs decoding of untrusted bytes: what it throws of its own becomes the error of a damaged file. */
export function decoding<T>(where: string, decode: () => T): T {
  try {
    return decode();
  } catch (cause) {
    throw decodingError(where, cause);
  }
}

export function decodingError(where: string, cause: unknown): PicasoError {
  if (PicasoError.isInstance(cause)) return cause;
  const reason = cause instanceof Error ? cause.message.replace(/\p{Cc}/gu, "?").slice(0, 200) : String(cause);
  return damagedParquet(where, "content in the Parquet format", `something else (${reason})`, cause);
}
