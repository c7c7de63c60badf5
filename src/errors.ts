/**
 * The one error type of the project. Every failure a user can meet says what was expected, what was found,
 * where (a file, a tensor, a flag) and what to do next.
 */

/**
 * What kind of failure it is, for programs that react to it:
 * - `bad-argument`: a value given by the caller cannot be used
 * - `bad-file`: a file's content is damaged, incomplete or not what its name says
 * - `not-found`: a file, passage, tensor or command does not exist
 * - `mismatch`: two things that must fit do not (a state of another model, a store of another model)
 * - `unsupported`: well-formed, but not something this version handles
 * - `aborted`: the caller's signal stopped the work
 * - `conflict`: another process changed the same thing at the same time
 * - `failed`: the system refused (disk full, permission, engine error)
 */
export type PicasoErrorCode =
  | "bad-argument"
  | "bad-file"
  | "not-found"
  | "mismatch"
  | "unsupported"
  | "aborted"
  | "conflict"
  | "failed";

export interface PicasoErrorDetails {
  /** File, tensor, field or flag concerned. */
  where: string;
  expected: string;
  found: string;
  /** What the user can do about it: a full sentence. */
  next: string;
  cause?: unknown;
}

const brand = Symbol.for("picaso.error");

export class PicasoError extends Error {
  override readonly name = "PicasoError";
  readonly [brand] = true;

  constructor(
    readonly code: PicasoErrorCode,
    readonly details: PicasoErrorDetails,
  ) {
    const { where, expected, found, next, cause } = details;
    super(`${where}: expected ${expected}, found ${found}. ${next}`, { cause });
  }

  /** True for errors of any loaded copy of this package, where `instanceof` sees only its own. */
  static isInstance(error: unknown): error is PicasoError {
    return typeof error === "object" && error !== null && brand in error;
  }
}

/** The `aborted` error for work that a caller's signal stopped. */
export function abortedError(where: string, cause?: unknown): PicasoError {
  return new PicasoError("aborted", {
    where,
    expected: "to run to the end",
    found: "an interruption",
    next: "Run the same command again to go on.",
    cause,
  });
}

/** Throws {@link abortedError} when `signal` has fired. */
export function throwIfAborted(signal: AbortSignal | undefined, where: string): void {
  if (signal?.aborted) throw abortedError(where, signal.reason);
}

/** The `failed` error for what ONNX Runtime refused; `next` says what may help there. */
export function engineError(where: string, cause: unknown, next: string): PicasoError {
  return new PicasoError("failed", {
    where: `ONNX Runtime, ${where}`,
    expected: "to run",
    found: cause instanceof Error ? cause.message : String(cause),
    next,
    cause,
  });
}
