import { mkdir, readdir, rename, stat, utimes, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import type { Catalog } from "./catalog.js";
import type { StoredPassage } from "./passage.js";
import type { StateStore } from "./store.js";
import { documentOf, fakeState, indexTexts, tokensOf, withStore } from "./test-store.js";

function stateFile(directory: string, { stateId }: Pick<StoredPassage, "stateId">): string {
  return join(directory, "states", stateId.slice(0, 2), `${stateId}.safetensors`);
}

function catalogOf(store: StateStore): Promise<Catalog> {
  return (store as unknown as { catalog(): Promise<Catalog> }).catalog();
}

async function putOrphan(store: StateStore, text: string): Promise<string> {
  const tokens = tokensOf(text);
  await store.putState(store.stateId(tokens), fakeState(tokens));
  return stateFile(store.directory, { stateId: store.stateId(tokens) });
}

describe("gc", () => {
  const age = async (path: string, minutes: number): Promise<void> => {
    const then = new Date(Date.now() - minutes * 60_000);
    await utimes(path, then, then);
  };

  it("removes what nothing refers to and is old enough, and nothing else", async () => {
    await withStore(async (store, directory) => {
      await indexTexts(store, { "/a.txt": ["One", "Two"] });
      const listed = (await store.list()).map((passage) => stateFile(directory, passage));
      const [old, young] = [await putOrphan(store, "Old"), await putOrphan(store, "Young")];
      const temporary = `${listed[0]}.1-abc.tmp`;
      await writeFile(temporary, "half");
      const strange = join(directory, "states", "notes");
      await mkdir(strange);
      await writeFile(join(strange, "mine.txt"), "not ours");
      for (const path of [old, temporary, ...listed, join(strange, "mine.txt")]) await age(path, 61);
      const size = (await stat(old)).size + 4;
      const report = await store.gc();
      expect(report).toMatchObject({ removed: 2, spared: 1 });
      expect(report.bytes).toBeGreaterThanOrEqual(size);
      for (const path of [young, ...listed, join(strange, "mine.txt")]) await stat(path);
      for (const path of [old, temporary]) await expect(stat(path)).rejects.toMatchObject({ code: "ENOENT" });
      expect(await store.gc({ olderThanMs: 0 })).toMatchObject({ removed: 1, spared: 0 });
      expect(await store.stats()).toMatchObject({ states: 2, orphans: 0, passages: 2 });
      expect((await store.verify()).problems).toEqual([]);
    });
  });

  it("leaves a state alone that is kept for a passage about to be listed", async () => {
    await withStore(async (store) => {
      const path = await putOrphan(store, "Reused");
      await age(path, 120);
      expect(await store.keepState(store.stateId(tokensOf("Reused")))).toBe(true);
      expect(await store.gc()).toMatchObject({ removed: 0, spared: 1 });
      await indexTexts(store, { "/a.txt": ["Reused"] });
      await age(path, 120);
      expect(await store.gc()).toMatchObject({ removed: 0, spared: 0 });
      await stat(path);
    });
  });

  it("frees what old versions of the catalog took", async () => {
    await withStore(async (store, directory) => {
      for (let i = 0; i < 12; i++) await indexTexts(store, { "/a.txt": [`Text number ${i}`.repeat(50)] });
      const before = (await store.stats()).catalogBytes;
      const { catalogBytes } = await store.gc({ olderThanMs: 0 });
      expect(catalogBytes).toBeGreaterThan(0);
      expect((await store.stats()).catalogBytes).toBeLessThan(before / 2);
      expect((await store.search("number", { k: 9 })).map(({ passage }) => passage.position)).toEqual([0]);
      expect(await readdir(directory)).toEqual(["catalog", "states", "store.json"]);
    });
  });

  it("refuses an age that is none", async () => {
    await withStore(async (store) => {
      for (const olderThanMs of [-1, Number.NaN, Number.POSITIVE_INFINITY]) {
        await expect(store.gc({ olderThanMs })).rejects.toMatchObject({ code: "bad-argument" });
      }
    });
  });
});

describe("removing states while others list them", () => {
  it("puts back a state that was listed meanwhile", async () => {
    await withStore(async (store) => {
      await indexTexts(store, { "/a.txt": ["Shared", "Own"] });
      const [shared] = await store.list();
      const catalog = await catalogOf(store);
      const referenced = catalog.referenced.bind(catalog);
      let looks = 0;
      catalog.referenced = async (ids) => {
        // Between the first look and the second, another process lists a document that needs the state.
        if (++looks === 2) {
          expect(await store.hasState(shared!.stateId)).toBe(false);
          await catalog.replace(["/b.txt"], [{ ...shared!, source: "/b.txt", key: "b", id: "b" }]);
        }
        return referenced(ids);
      };
      await store.removeDocuments(["/a.txt"]);
      expect(looks).toBe(2);
      catalog.referenced = referenced;
      expect((await store.documents()).get("/b.txt")).toMatchObject({ whole: true });
      expect(await store.stats()).toMatchObject({ passages: 1, states: 1, orphans: 0 });
      expect((await store.verify()).problems).toEqual([]);
    });
  });

  it("waits for a state that is away for a moment only", async () => {
    await withStore(async (store, directory) => {
      const document = documentOf(store, "/a.txt", ["Away"]);
      const tokens = tokensOf("Away");
      await store.putState(store.stateId(tokens), fakeState(tokens));
      const path = stateFile(directory, document.passages[0]!);
      await rename(path, `${path}.away`);
      setTimeout(() => rename(`${path}.away`, path), 80);
      await store.replaceDocuments([document]);
      expect((await store.documents()).get("/a.txt")).toMatchObject({ whole: true });
    });
  });

  it("tells the one who lists when the state is gone", async () => {
    await withStore(async (store, directory) => {
      const document = documentOf(store, "/a.txt", ["Gone"]);
      const path = stateFile(directory, document.passages[0]!);
      const tokens = tokensOf("Gone");
      await store.putState(store.stateId(tokens), fakeState(tokens));
      const catalog = await catalogOf(store);
      const replace = catalog.replace.bind(catalog);
      catalog.replace = async (...args) => {
        await replace(...args);
        await rename(path, `${path}.away`);
      };
      const listing = store.replaceDocuments([document]);
      await expect(listing).rejects.toMatchObject({ code: "conflict", details: { where: path } });
      expect((await store.documents()).get("/a.txt")).toMatchObject({ whole: false });
    });
  });
});
