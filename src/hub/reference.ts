/** The names under which users ask for models and data files on the hub. */
import { PicasoError } from "../errors.js";

export interface HubRepo {
  type: "model" | "dataset";
  /** ORG/NAME */
  name: string;
  /** Branch, tag or commit. */
  revision: string;
  /** What the user wrote. */
  given: string;
}

export const defaultRevision = "main";

/** The form of a data file's name on the hub, for messages. */
export const dataReferenceForm = "hub:datasets/ORG/NAME/PATH or hub:datasets/ORG/NAME@REVISION/PATH";

/**
 * Reads `org/name` or `org/name@revision`; null for text that is no id. `revision` is the caller's other way of
 * naming one. Throws `bad-argument` for a revision that is none or when the two differ.
 */
export function parseModelId(text: string, revision?: string): HubRepo | null {
  const [name = "", ...rest] = text.split("@");
  if (!isRepoName(name)) return null;
  return {
    type: "model",
    name,
    revision: oneRevision(text, rest.length ? rest.join("@") : undefined, revision),
    given: text,
  };
}

/** Whether the text claims to name a data file on the hub. */
export function isDataReference(text: string): boolean {
  return /^hub:|^hf:\/\//.test(text);
}

/**
 * Reads `hub:datasets/ORG/NAME/PATH` or `hub:datasets/ORG/NAME@REVISION/PATH`, also with the `hf://` that other
 * programs write in place of `hub:`. Of revisions with slashes, those that the hub makes itself are understood:
 * refs/convert/NAME and refs/pr/NUMBER. Throws `bad-argument`.
 */
export function parseDataReference(text: string, revision?: string): { repo: HubRepo; path: string } {
  const match = /^(?:hub:|hf:\/\/)datasets\/([^/@]+\/[^/@]+)(?:@(refs\/(?:convert|pr)\/[^/]+|[^/]+))?\/(.+)$/.exec(
    text,
  );
  const [, name = "", inText, path = ""] = match ?? [];
  if (!isRepoName(name) || !isFilePath(path)) {
    throw new PicasoError("bad-argument", {
      where: shown(text),
      expected: dataReferenceForm,
      found: "something else",
      next: "Write it like hub:datasets/microsoft/ms_marco/v1.1/test-00000-of-00001.parquet.",
    });
  }
  return { repo: { type: "dataset", name, revision: oneRevision(text, inText, revision), given: text }, path };
}

/** Such as `model org/name@main`. */
export function repoLabel(repo: HubRepo): string {
  return `${repo.type === "model" ? "model" : "data set"} ${repo.name}@${repo.revision}`;
}

export function isCommit(revision: string): boolean {
  return /^[0-9a-f]{40}$/.test(revision);
}

/** A path that stays inside the folder it is joined to, on every system. */
export function isFilePath(path: string): boolean {
  const hasOddCharacters = /[\\:\p{Cc}]/u.test(path);
  return !hasOddCharacters && path.split("/").every((part) => part !== "" && part !== "." && part !== "..");
}

/** Whether a failed file system call means that no file can have the name, as for ids and other text. */
export function namesNothing(cause: NodeJS.ErrnoException): boolean {
  return ["ENOENT", "ENOTDIR", "ENAMETOOLONG", "ERR_INVALID_ARG_VALUE"].includes(cause.code ?? "");
}

/** Text from outside, short and free of control characters, for error messages. */
export function shown(text: string): string {
  const clean = text.replace(/\p{Cc}/gu, "?");
  return clean.length > 200 ? `${clean.slice(0, 200)}...` : clean;
}

/** ORG/NAME under the hub's rules: letters, digits and single - _ . signs, none of the last three at an end of NAME. */
function isRepoName(name: string): boolean {
  return /^[A-Za-z0-9][\w.-]*\/\w(?:[\w.-]*\w)?$/.test(name) && !/--|\.\./.test(name) && name.length <= 96;
}

function oneRevision(text: string, inText: string | undefined, option: string | undefined): string {
  const revision = inText ?? option ?? defaultRevision;
  const isRef = /^\w[\w.+-]*(?:\/\w[\w.+-]*)*$/.test(revision) && !revision.includes("..") && revision.length <= 200;
  if (isRef && (option === undefined || option === revision)) return revision;
  throw new PicasoError("bad-argument", {
    where: `revision of ${shown(text)}`,
    expected: isRef ? `the same revision in the name and in the options` : "the name of a branch, a tag or a commit",
    found: isRef ? `${revision} and ${shown(option!)}` : JSON.stringify(shown(revision)),
    next: isRef ? "Give it in one place." : "Check what stands after the @, or leave it out for the newest state.",
  });
}
