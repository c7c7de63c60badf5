/** What can go wrong between the hub and the disk, told apart by whether trying again can help. */
import { PicasoError, type PicasoErrorDetails } from "../errors.js";
import { type HubRepo, repoLabel, shown } from "./reference.js";
import type { HubSettings } from "./settings.js";

/** A `failed` that may pass by itself: no connection, a stalled or cut one, a hub that is overloaded or down. */
export class HubUnavailable extends PicasoError {
  constructor(
    details: PicasoErrorDetails,
    /** How long the hub asked to be left alone. */
    readonly retryAfterMs?: number,
  ) {
    super("failed", details);
  }
}

export function noConnection(settings: HubSettings, repo: HubRepo, cause: unknown): HubUnavailable {
  return unavailable(settings, repo, networkFault(cause), cause);
}

/** `found` is a noun phrase: what came in place of an answer. */
export function unavailable(
  settings: HubSettings,
  repo: HubRepo,
  found: string,
  cause?: unknown,
  retryAfterMs?: number,
) {
  const details = {
    where: repoLabel(repo),
    expected: `an answer of ${settings.hubUrl}`,
    found,
    next: withoutHub(repo),
    cause,
  };
  return new HubUnavailable(details, retryAfterMs);
}

/** The error for an answer other than success: {@link HubUnavailable} where it may pass, else one that stays. */
export function statusError(settings: HubSettings, repo: HubRepo, response: Response): PicasoError {
  const { status, headers } = response;
  const reason = headers.get("x-error-message");
  const found = `HTTP ${status}${reason ? ` (${shown(reason)})` : ""}`;
  if (status === 408 || status === 429 || status >= 500) {
    return unavailable(settings, repo, found, undefined, retryAfterMs(headers));
  }
  const kind = headers.get("x-error-code");
  const where = repoLabel(repo);
  const page = `${settings.hubUrl}/${repo.type === "model" ? "" : "datasets/"}${repo.name}`;
  if (kind === "GatedRepo" || status === 403) {
    const next = settings.token
      ? `Accept its terms at ${page} with the account that HF_TOKEN belongs to, or set HF_TOKEN to a token with access.`
      : `Accept its terms at ${page} and set HF_TOKEN to an access token of the same account.`;
    return new PicasoError("failed", { where, expected: "leave to download it", found, next });
  }
  if (status === 401 && settings.token && kind !== "RepoNotFound") {
    const next = "Set HF_TOKEN to a valid access token, or unset it if the repository is public.";
    return new PicasoError("failed", { where, expected: "that the hub takes the token in HF_TOKEN", found, next });
  }
  if (kind === "RevisionNotFound") {
    const next = `See the branches and tags at ${page}, or leave the revision out.`;
    return new PicasoError("not-found", { where, expected: `a revision ${repo.revision}`, found, next });
  }
  if (kind === "EntryNotFound") return noSuchFile(settings, repo, found);
  if (status === 401 || status === 404) return noSuchRepo(settings, repo, found);
  const next = "Check HF_ENDPOINT if it is set; otherwise try again later.";
  return new PicasoError("failed", { where, expected: `an answer of ${settings.hubUrl}`, found, next });
}

function noSuchRepo(settings: HubSettings, repo: HubRepo, found: string): PicasoError {
  const isModel = repo.type === "model";
  return new PicasoError("not-found", {
    where: shown(repo.given),
    expected: isModel ? "the path of a model folder, or the id of a model on the hub" : "a data set on the hub",
    found: `${isModel ? "no folder of this name, and " : ""}${found} for ${repo.name} at ${settings.hubUrl}`,
    next: `Check the ${isModel ? "path or the id" : "name"}; for a private or gated repository, set HF_TOKEN to a token with access.`,
  });
}

export function noSuchFile(settings: HubSettings, repo: HubRepo, found: string): PicasoError {
  const page = `${settings.hubUrl}/${repo.type === "model" ? "" : "datasets/"}${repo.name}/tree/${repo.revision}`;
  const next = `See its files at ${page}.`;
  return new PicasoError("not-found", { where: shown(repo.given), expected: "a file of the repository", found, next });
}

/** An answer of the hub that is not in its documented form. */
export function badAnswer(settings: HubSettings, repo: HubRepo, expected: string, found: string): PicasoError {
  const next = `Check that ${settings.hubUrl} is a Hugging Face hub (HF_ENDPOINT), then try again.`;
  return new PicasoError("failed", { where: repoLabel(repo), expected, found, next });
}

/** A file system call that failed in the cache. */
export function cacheError(path: string, cause: unknown): PicasoError {
  if (PicasoError.isInstance(cause)) return cause;
  return new PicasoError("failed", {
    where: path,
    expected: "to use the hub's cache",
    found: cause instanceof Error ? cause.message : String(cause),
    next: "Free disk space or permissions, or name another folder with HF_HUB_CACHE.",
    cause,
  });
}

/** How to go on without the hub. */
function withoutHub(repo: HubRepo): string {
  const again = "Check the network and run it again, or give the path of a";
  if (repo.type === "dataset") return `${again} local file.`;
  return `${again} model folder (there is no folder ${shown(repo.given)}).`;
}

function retryAfterMs(headers: Headers): number | undefined {
  const text = headers.get("retry-after");
  return text !== null && /^\d+$/.test(text.trim()) ? Number(text) * 1000 : undefined;
}

/** The innermost reason of a failed `fetch`, such as ECONNREFUSED. */
function networkFault(error: unknown): string {
  let innermost = error;
  while (innermost instanceof Error && innermost.cause instanceof Error) innermost = innermost.cause;
  const { code, message } = innermost as NodeJS.ErrnoException;
  return `no connection (${shown(String(code ?? message ?? innermost))})`;
}
