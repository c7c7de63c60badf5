/** Listing documents whose states were written before, while other processes remove what seems unused to them. */
import { setTimeout as delay } from "node:timers/promises";
import { PicasoError } from "../errors.js";
import type { Codec } from "../state/codec.js";
import type { Catalog, CatalogRow } from "./catalog.js";
import { removeUnreferenced } from "./cleanup.js";
import { mapConcurrently } from "./files.js";
import { hashText, passageId, placeKey } from "./ids.js";
import type { NewDocument, NewPassage } from "./passage.js";
import type { StateFiles } from "./state-files.js";

/** How long a file may be missing because another process has it aside, see `removeUnreferenced`. */
const ATTEMPTS = 6;
const PAUSE_MS = 50;

/**
 * Replaces all that the catalog has of these documents in one commit, then removes states that nothing refers to any
 * longer. Throws `bad-argument` for a source or position given twice or a wrong hash, `not-found` for a passage whose
 * state was not put before, `conflict` when another process removed a state at the same time, or changed the catalog
 * again and again.
 */
export async function replaceDocuments(
  catalog: Catalog,
  files: StateFiles,
  codec: Codec,
  documents: readonly NewDocument[],
): Promise<void> {
  if (documents.length === 0) return;
  const sources = documents.map(({ source }) => source);
  assertUnique(sources, "source");
  for (const { source, passages } of documents) {
    const positions = passages.map(({ position }) => position);
    assertUnique(positions, `document ${source}, position`);
    for (const passage of passages) assertTextHash(passage, source);
  }
  const stateIds = [...new Set(documents.flatMap(({ passages }) => passages.map((passage) => passage.stateId)))];
  const { sizes, missing } = await sizesOf(files, stateIds);
  if (missing !== undefined) {
    throw new PicasoError("not-found", {
      where: files.path(missing),
      expected: "the state of a passage to list",
      found: "nothing",
      next: "Put the states before listing their passages; if another process removed it, run the same command again.",
    });
  }
  const before = await catalog.statesOf(sources);
  await catalog.replace(sources, rowsOf(documents, codec, sizes));
  await removeUnreferenced(
    catalog,
    files,
    [...before].filter((stateId) => !sizes.has(stateId)),
  );
  const { missing: removed } = await sizesOf(files, stateIds);
  if (removed === undefined) return;
  throw new PicasoError("conflict", {
    where: files.path(removed),
    expected: "the state of a passage that was just listed",
    found: "that another process removed it at the same time",
    next: "Run the same command again: it encodes what is missing.",
  });
}

/** Sizes in bytes of the states' files, and a state that has none. */
async function sizesOf(
  files: StateFiles,
  stateIds: string[],
): Promise<{ sizes: Map<string, number>; missing?: string }> {
  const sizes = new Map<string, number>();
  let missing = stateIds;
  for (let attempt = 1; missing.length > 0 && attempt <= ATTEMPTS; attempt++) {
    if (attempt > 1) await delay(PAUSE_MS);
    await mapConcurrently(missing, 32, async (stateId) => {
      const size = await files.size(stateId);
      if (size !== undefined) sizes.set(stateId, size);
    });
    missing = missing.filter((stateId) => !sizes.has(stateId));
  }
  return { sizes, missing: missing[0] };
}

function rowsOf(documents: readonly NewDocument[], codec: Codec, sizes: Map<string, number>): CatalogRow[] {
  return documents.flatMap(({ source, file, signature, passages }) =>
    passages.map(({ position, start, end, text, tokens, stateId, textHash }) => ({
      key: placeKey(source, position),
      id: passageId(source, position, text),
      ...{ source, file, position, start, end, text, tokens, stateId },
      stateBytes: sizes.get(stateId)!,
      ...{ codec, textHash, signature },
    })),
  );
}

function assertTextHash({ position, text, textHash }: NewPassage, source: string): void {
  const expected = hashText(text);
  if (textHash === expected) return;
  throw new PicasoError("bad-argument", {
    where: `document ${source}, passage ${position}, textHash`,
    expected,
    found: textHash,
    next: "Give the SHA-256 of the passage's text.",
  });
}

function assertUnique(values: readonly (string | number)[], where: string): void {
  const seen = new Set<string | number>();
  for (const value of values) {
    if (seen.has(value)) {
      throw new PicasoError("bad-argument", {
        where,
        expected: "each value once",
        found: `${value} twice`,
        next: "Give every document one source and every passage of a document its own position.",
      });
    }
    seen.add(value);
  }
}
