import { describe, expect, it } from "vitest";
import type { Catalog } from "./catalog.js";
import type { SearchHit } from "./passage.js";
import { searchWhole } from "./search.js";
import type { StateFiles } from "./state-files.js";
import { StateStore } from "./store.js";
import { documentOf, indexTexts, withStore } from "./test-store.js";

async function found(store: StateStore, query: string, k = 10): Promise<string[]> {
  return (await store.search(query, { k })).map(({ passage }) => passage.text);
}

describe("search", () => {
  it("ranks by the words of the question, whatever their form, case and accents", async () => {
    await withStore(async (store) => {
      await indexTexts(store, {
        "/a.txt": ["The river rose at night", "Rivers, rivers, rivers", "Nothing of the kind", "A café by the sea"],
      });
      for (const refresh of [false, true]) {
        if (refresh) await store.refreshIndex();
        expect(await found(store, "What about RIVERS?")).toEqual(["Rivers, rivers, rivers", "The river rose at night"]);
        expect(await found(store, "cafe")).toEqual(["A café by the sea"]);
        expect(await found(store, "the of a")).toEqual([]);
        expect(await found(store, "absent")).toEqual([]);
        expect(await found(store, "river", 1)).toEqual(["Rivers, rivers, rivers"]);
        const [best, next] = await store.search("river", { k: 2 });
        expect(best!.score).toBeGreaterThan(next!.score);
        expect(next!.score).toBeGreaterThan(0);
      }
    });
  });

  it("takes every query for plain text", async () => {
    await withStore(async (store) => {
      await indexTexts(store, { "/a.txt": ["A quick brown fox", "Lazy dogs sleep"] });
      await store.refreshIndex();
      const fox = [
        '"fox"',
        "fox:cat",
        "(fox OR cat",
        "NOT fox",
        "-fox",
        "fox~2",
        "fox^3",
        "+fox*",
        "fox' --",
        "fox\\",
        "🦊fox",
      ];
      for (const query of fox) expect((await found(store, query))[0]).toBe("A quick brown fox");
      for (const query of [
        "",
        " ",
        "\n",
        '"',
        "'",
        ":",
        "()",
        "🦊",
        "\ud83e",
        "\0",
        "*",
        "AND",
        "日本語",
        "%",
        "f%x",
        "f?x",
      ]) {
        expect(await found(store, query)).toEqual([]);
      }
      expect(await found(store, `${"word ".repeat(20_000)}fox`)).toEqual(["A quick brown fox"]);
      expect(await found(store, "x".repeat(1_000_000))).toEqual([]);
      expect(await found(store, "fox\0dogs")).toHaveLength(2);
    });
  });

  it("sees what was listed after the index was made, also by another process", async () => {
    await withStore(async (store, directory) => {
      await indexTexts(store, { "/a.txt": ["An old otter"] });
      await store.refreshIndex();
      const other = await StateStore.open(directory);
      expect(await found(other, "otter")).toEqual(["An old otter"]);
      await indexTexts(store, { "/b.txt": ["A new otter"], "/a.txt": ["An old badger"] });
      expect(await found(other, "otter")).toEqual(["A new otter"]);
      expect(await found(other, "badger")).toEqual(["An old badger"]);
      await store.removeDocuments(["/b.txt"]);
      expect(await found(other, "otter")).toEqual([]);
      await other.close();
    });
  });

  it("orders equal scores by id, and cuts them there", async () => {
    await withStore(async (store) => {
      const sources = Array.from({ length: 60 }, (_, i) => `/${i}.txt`);
      await indexTexts(store, Object.fromEntries(sources.map((source) => [source, ["Equal words"]])));
      for (const refresh of [false, true]) {
        if (refresh) await store.refreshIndex();
        const ids = (await store.list()).map(({ id }) => id).sort();
        for (const k of [1, 7, 59, 60, 1000]) {
          const hits = await store.search("equal", { k });
          expect(hits.map(({ passage }) => passage.id)).toEqual(ids.slice(0, k));
        }
      }
    });
  });

  it("refuses a number of passages that is none", async () => {
    await withStore(async (store) => {
      for (const k of [0, -1, 1.5, Number.NaN, Number.POSITIVE_INFINITY]) {
        await expect(store.search("x", { k })).rejects.toMatchObject({ code: "bad-argument" });
      }
    });
  });
});

describe("searchWhole", () => {
  const hit = (id: string, score: number, stateBytes = 1): SearchHit =>
    ({ score, passage: { id, stateId: id, stateBytes } }) as SearchHit;

  /** A catalog that gives these hits in their order, and files of one byte. */
  function fakes(hits: SearchHit[]): { catalog: Catalog; files: StateFiles; limits: number[] } {
    const limits: number[] = [];
    const search = async (_: string, limit: number): Promise<SearchHit[]> => {
      limits.push(limit);
      return hits.slice(0, limit);
    };
    return { catalog: { search } as Catalog, files: { size: async () => 1 } as unknown as StateFiles, limits };
  }

  it("asks for more until the best are certain", async () => {
    // 17 ids of one score, in an order that is not theirs, across the first limit.
    const tied = Array.from({ length: 30 }, (_, i) => hit(String(99 - i), 5));
    const { catalog, files, limits } = fakes([hit("00", 9), ...tied, hit("01", 1)]);
    const ids = async (k: number): Promise<string[]> =>
      (await searchWhole(catalog, files, "", k)).map(({ passage }) => passage.id);
    expect(await ids(1)).toEqual(["00"]);
    expect(limits).toEqual([17]);
    expect(await ids(3)).toEqual(["00", "70", "71"]);
    expect(limits.slice(1)).toEqual([19, 76]);
  });

  it("asks for more while states are missing", async () => {
    const hits = Array.from({ length: 100 }, (_, i) => hit(String(i), 100 - i, i < 90 ? 2 : 1));
    const { catalog, files } = fakes(hits);
    const best = await searchWhole(catalog, files, "", 3);
    expect(best.map(({ passage }) => passage.id)).toEqual(["90", "91", "92"]);
    expect(await searchWhole(catalog, files, "", 50)).toHaveLength(10);
  });
});

describe("a store of 5,000 passages", () => {
  it("answers while documents are listed", async () => {
    await withStore(async (store) => {
      const topic = (i: number): string => `topic${String.fromCharCode(97 + (i % 26), 97 + ((i / 26) % 26))}`;
      const texts = (d: number): string[] =>
        Array.from(
          { length: 50 },
          (_, p) => `Passage ${p} of document ${d} about ${topic(50 * d + p)} and other things`,
        );
      // A hundred states are enough: what is measured here is the catalog.
      const stateIds = Array.from({ length: 100 }, (_, i) => documentOf(store, "/x", [`state ${i}`]).passages[0]!);
      await indexTexts(store, { "/states": stateIds.map(({ text }) => text) });
      const listing = (async () => {
        for (let first = 0; first < 100; first += 10) {
          const documents = Array.from({ length: 10 }, (_, i) => first + i).map((d) => {
            const { passages, ...document } = documentOf(store, `/d${d}.txt`, texts(d));
            return { ...document, passages: passages.map((each, p) => ({ ...each, stateId: stateIds[p]!.stateId })) };
          });
          await store.replaceDocuments(documents);
          if (first % 40 === 0) await store.refreshIndex();
        }
      })();
      let isListing = true;
      listing.finally(() => {
        isListing = false;
      });
      let searches = 0;
      while (isListing) {
        const hits = await Promise.all(
          ["topicaa", "topicbz", "document"].map((query) => store.search(query, { k: 5 })),
        );
        for (const { passage } of hits[0]!) expect(passage.text).toContain("topicaa");
        searches += hits.length;
      }
      await listing;
      expect(searches).toBeGreaterThan(3);
      await store.refreshIndex();
      expect(await store.stats()).toMatchObject({ documents: 101, passages: 5100, states: 100, orphans: 0 });
      for (const query of ["topicaa", "topickq", "topiczz"]) {
        const hits = await store.search(query, { k: 1000 });
        expect(hits).toHaveLength((await store.list()).filter(({ text }) => text.includes(query)).length);
      }
      expect(await store.search("passage", { k: 10_000 })).toHaveLength(5000);
    });
  }, 120_000);
});
