/**
 * The two errors of a checkpoint file that cannot be read: it is damaged, or it is whole but asks for something that
 * this reader does not do.
 */
import { PicasoError } from "../../errors.js";

export function damaged(where: string, expected: string, found: string, cause?: unknown): PicasoError {
  const next = "The file is damaged or incomplete: download it again.";
  return new PicasoError("bad-file", { where, expected, found, next, cause });
}

export function notSupported(where: string, expected: string, found: string, next = convert): PicasoError {
  return new PicasoError("unsupported", { where, expected, found, next });
}

const convert =
  "If you trust its source, load it in PyTorch (weights_only=True), save it as safetensors and use that file.";

/** Text that comes from the file: quoted, with control characters escaped, and never at full length. */
export function quote(text: string): string {
  return JSON.stringify(text.length > 80 ? `${text.slice(0, 77)}...` : text);
}
