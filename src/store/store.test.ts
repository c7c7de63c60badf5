import { readFileSync } from "node:fs";
import { access, mkdir, readdir, readFile, rm, stat, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { codecNames } from "../state/codec.js";
import { decodeStateFile } from "../state/state-file.js";
import { hashText, passageId } from "./ids.js";
import type { StoredPassage } from "./passage.js";
import { StateStore } from "./store.js";
import { documentOf, fakeState, index, indexTexts, model, tokensOf, withFolder, withStore } from "./test-store.js";

const exists = (path: string): Promise<boolean> =>
  access(path).then(
    () => true,
    () => false,
  );

function stateFile(directory: string, { stateId }: Pick<StoredPassage, "stateId">): string {
  return join(directory, "states", stateId.slice(0, 2), `${stateId}.safetensors`);
}

/** A state read in a way of one's own, with the path that it was read from. */
function decode(where: string) {
  const { state, metadata } = decodeStateFile(readFileSync(where), where);
  return { ...state, metadata, where };
}

async function found(store: StateStore, query: string, k = 10): Promise<string[]> {
  return (await store.search(query, { k })).map(({ passage }) => passage.text);
}

describe("states", () => {
  it("come back as they were put", async () => {
    for (const codec of codecNames) {
      await withStore(
        async (store, directory) => {
          const tokens = tokensOf("Some text");
          const id = store.stateId(tokens);
          expect(id).toMatch(/^[0-9a-f]{32}$/);
          expect(await store.hasState(id)).toBe(false);
          expect(await store.keepState(id)).toBe(false);
          const state = fakeState(tokens);
          await store.putState(id, state, { textHash: hashText("Some text") });
          expect(await store.hasState(id)).toBe(true);
          expect(await store.hasState(id, { checksum: true })).toBe(true);
          const loaded = await store.loadState({ stateId: id, tokens: tokens.length });
          expect(loaded.logDecay).toEqual(state.logDecay);
          expect(loaded.ssm.every((value, i) => Math.abs(value - state.ssm[i]!) <= (codec === "f32" ? 0 : 2e-3))).toBe(
            true,
          );
          expect((await stat(stateFile(directory, { stateId: id }))).mode & 0o777).toBe(0o600);
          for (const folder of [".", "states", "catalog"]) {
            expect((await stat(join(directory, folder))).mode & 0o777).toBe(0o700);
          }
        },
        { codec },
      );
    }
  });

  it("of the same tokens have one file; of other tokens or models, others", async () => {
    await withStore(async (store) => {
      const id = store.stateId([1, 2, 3]);
      expect(store.stateId(Int32Array.of(1, 2, 3))).toBe(id);
      expect(store.stateId([1, 2])).not.toBe(id);
      expect(store.stateId([1, 2, 4])).not.toBe(id);
      expect(() => store.stateId([-1])).toThrow(/token id/);
      await withFolder(async (folder) => {
        const other = await StateStore.open(join(folder, "s"), { model: { ...model, fingerprint: "fake-model-" } });
        expect(other.stateId([0x31, 1, 2, 3])).not.toBe(id);
      });
    });
  });

  it("of another model are refused", async () => {
    await withStore(async (store) => {
      const state = fakeState([1], { ...model, fingerprint: "other-model" });
      await expect(store.putState(store.stateId([1]), state)).rejects.toThrow(/fake-model-1.*other-model/);
      for (const id of ["../../../etc/passwd", "", "abc", "G".repeat(32)]) {
        await expect(store.putState(id, fakeState([1]))).rejects.toMatchObject({ code: "bad-argument" });
        await expect(store.loadState({ stateId: id, tokens: 1 })).rejects.toMatchObject({ code: "bad-argument" });
      }
    });
  });

  it("that cannot be written leave nothing behind", async () => {
    await withStore(async (store, directory) => {
      const id = store.stateId([1]);
      await writeFile(join(directory, "states", id.slice(0, 2)), "in the way");
      await expect(store.putState(id, fakeState([1]))).rejects.toMatchObject({ code: "failed" });
      await rm(join(directory, "states", id.slice(0, 2)));
      // A folder has the name of the state's file: the temporary file cannot take it.
      await mkdir(stateFile(directory, { stateId: id }), { recursive: true });
      await writeFile(join(stateFile(directory, { stateId: id }), "x"), "in the way");
      await expect(store.putState(id, fakeState([1]))).rejects.toMatchObject({
        code: "failed",
        details: { where: stateFile(directory, { stateId: id }) },
      });
      expect(await readdir(join(directory, "states", id.slice(0, 2)))).toEqual([`${id}.safetensors`]);
    });
  });

  it("that are damaged are not there, and loading them names the file and the way out", async () => {
    await withStore(async (store, directory) => {
      await indexTexts(store, { "/a.txt": ["Some text", "Other text"] });
      const [passage, other] = await store.list();
      const file = stateFile(directory, passage!);
      const good = await readFile(file);
      const load = (): Promise<unknown> => store.loadState(passage!);

      const flipped = Buffer.from(good);
      flipped[good.length - 5]! ^= 1;
      await writeFile(file, flipped);
      await expect(load()).rejects.toMatchObject({ code: "bad-file" });
      await expect(load()).rejects.toThrow(/checksum.*Run `picaso verify`/);
      expect(await store.hasState(passage!.stateId)).toBe(true);
      expect(await store.hasState(passage!.stateId, { checksum: true })).toBe(false);

      for (const size of [0, 7, 100, good.length - 1]) {
        await writeFile(file, good);
        await truncate(file, size);
        await expect(load()).rejects.toMatchObject({ code: "bad-file" });
        expect(await store.hasState(passage!.stateId)).toBe(false);
      }
      await writeFile(file, await readFile(stateFile(directory, other!)));
      const swapped = new RegExp(`expected ${passage!.stateId}, found ${other!.stateId}`);
      await expect(load()).rejects.toThrow(swapped);
      expect(() => store.openState(passage!, decode)).toThrow(swapped);
      await writeFile(file, good);
      expect(store.openState(passage!, decode)).toMatchObject({ tokens: 9, where: file });
      expect(() => store.openState({ ...passage!, tokens: 3 }, decode)).toThrow(/of 3 tokens, found one of 9.*verify/);
      expect(() => store.openState({ ...passage!, stateId: "../x" }, decode)).toThrow(/hexadecimal/);
      await expect(store.loadState({ ...passage!, tokens: 3 })).rejects.toThrow(
        /expected a state of 3 tokens, found one of 9/,
      );
      await rm(file);
      await expect(load()).rejects.toMatchObject({ code: "not-found", details: { where: file } });
      await expect(load()).rejects.toThrow("Run `picaso verify`");
    });
  });
});

describe("documents", () => {
  it("are listed with their passages", async () => {
    await withStore(async (store) => {
      await indexTexts(store, { "/b.txt": ["Third passage"], "/a.txt": ["First passage", "Second passage"] });
      expect([...(await store.documents())]).toEqual([
        ["/a.txt", { file: "/a.txt", signature: "v1", passages: 2, whole: true }],
        ["/b.txt", { file: "/b.txt", signature: "v1", passages: 1, whole: true }],
      ]);
      const passages = await store.list();
      expect(passages.map(({ text, position }) => [text, position])).toEqual([
        ["First passage", 0],
        ["Second passage", 1],
        ["Third passage", 0],
      ]);
      const { id, stateBytes, ...second } = passages[1]!;
      expect(second).toEqual({
        ...documentOf(store, "/a.txt", ["First passage", "Second passage"]).passages[1],
        ...{ source: "/a.txt", file: "/a.txt", codec: "f32", signature: "v1" },
      });
      expect(id).toMatch(/^[0-9a-f]{16}$/);
      expect(stateBytes).toBe((await stat(stateFile(store.directory, second))).size);
      expect((await store.list({ limit: 1, offset: 1 })).map(({ text }) => text)).toEqual(["Second passage"]);
      expect((await store.list({ sources: ["/b.txt"] })).map(({ text }) => text)).toEqual(["Third passage"]);
      await expect(store.list({ limit: 0 })).rejects.toMatchObject({ code: "bad-argument" });
    });
  });

  it("are replaced in one commit, and states that nothing needs any longer go", async () => {
    await withStore(async (store, directory) => {
      await indexTexts(store, { "/a.txt": ["Kept", "Gone", "Moved"], "/b.txt": ["Other"] });
      const [kept, gone, moved] = await store.list();
      await indexTexts(store, { "/a.txt": ["Kept", "Moved"] }, "v2");
      const now = await store.list({ sources: ["/a.txt"] });
      expect(now.map(({ text, position, signature }) => [text, position, signature])).toEqual([
        ["Kept", 0, "v2"],
        ["Moved", 1, "v2"],
      ]);
      expect(now[0]!.id).toBe(kept!.id);
      expect(now[1]!.id).not.toBe(moved!.id);
      expect(await exists(stateFile(directory, gone!))).toBe(false);
      expect(await exists(stateFile(directory, moved!))).toBe(true);
      expect((await store.documents()).get("/b.txt")).toMatchObject({ signature: "v1", whole: true });
      await indexTexts(store, { "/a.txt": [] });
      expect([...(await store.documents()).keys()]).toEqual(["/b.txt"]);
      expect(await found(store, "kept")).toEqual([]);
    });
  });

  it("share the states of equal passages, which stay as long as one needs them", async () => {
    await withStore(async (store) => {
      await indexTexts(store, { "/a.txt": ["Shared", "Only here"], "/b.txt": ["Shared"] });
      expect(await store.stats()).toMatchObject({ documents: 2, passages: 3, states: 2, orphans: 0 });
      expect(await store.removeDocuments(["/a.txt"])).toBe(2);
      expect(await store.stats()).toMatchObject({ documents: 1, passages: 1, states: 1, orphans: 0 });
      const { passage } = (await store.search("shared", { k: 1 }))[0]!;
      expect(passage.source).toBe("/b.txt");
      expect((await store.loadState(passage)).tokens).toBe(6);
      expect(await store.removeDocuments(["/b.txt", "/absent"])).toBe(1);
      expect(await store.removeDocuments([])).toBe(0);
      expect(await store.stats()).toMatchObject({ documents: 0, passages: 0, tokens: 0, states: 0, stateBytes: 0 });
    });
  });

  it("are only listed with states that are there, once each", async () => {
    await withStore(async (store) => {
      const document = documentOf(store, "/a.txt", ["One", "Two"]);
      await expect(store.replaceDocuments([document])).rejects.toMatchObject({ code: "not-found" });
      await index(store, [document]);
      const twice = [document.passages[0]!, document.passages[0]!];
      await expect(store.replaceDocuments([{ ...document, passages: twice }])).rejects.toThrow(/position: .*0 twice/);
      await expect(store.replaceDocuments([document, document])).rejects.toThrow(/source: .*\/a\.txt twice/);
      const wrong = [{ ...document.passages[0]!, textHash: "0" }];
      await expect(store.replaceDocuments([{ ...document, passages: wrong }])).rejects.toThrow(/textHash/);
      expect((await store.list()).length).toBe(2);
      await store.replaceDocuments([]);
    });
  });

  it("of which a state is missing or cut off are not whole, and searches pass it over", async () => {
    await withStore(async (store, directory) => {
      const texts = Array.from({ length: 40 }, (_, i) => `Common words number${i}`);
      await indexTexts(store, { "/a.txt": texts, "/b.txt": ["Common words of another"] });
      const passages = await store.list({ sources: ["/a.txt"] });
      await rm(stateFile(directory, passages[0]!));
      await truncate(stateFile(directory, passages[1]!), 50);
      expect((await store.documents()).get("/a.txt")).toMatchObject({ whole: false, passages: 40 });
      expect((await store.documents()).get("/b.txt")).toMatchObject({ whole: true });
      expect(await found(store, "number0")).toEqual([]);
      for (const { stateId } of passages.slice(2, 39)) await rm(stateFile(directory, { stateId }));
      expect((await found(store, "common words", 2)).sort()).toEqual([
        "Common words number39",
        "Common words of another",
      ]);
      await indexTexts(store, { "/a.txt": texts });
      expect((await store.documents()).get("/a.txt")).toMatchObject({ whole: true });
      expect(await found(store, "number0")).toEqual(["Common words number0"]);
    });
  });

  it("are listed in one version where two are listed at the same time", async () => {
    await withStore(async (store, directory) => {
      const other = await StateStore.open(directory, { model });
      const texts = ["One", "Two", "Three", "Four", "Five"];
      await indexTexts(store, { "/states": texts });
      for (let round = 0; round < 24; round++) {
        // Twice for each source: first both insert, then both replace.
        const source = `/${round >> 1}`;
        const versions = [documentOf(store, source, texts.slice(0, 2), "a"), documentOf(store, source, texts, "b")];
        await Promise.all([store.replaceDocuments([versions[0]!]), other.replaceDocuments([versions[1]!])]);
        const listed = await store.list({ sources: [source] });
        const winner = versions.find(({ signature }) => signature === listed[0]!.signature)!;
        expect(listed.map(({ text, signature }) => [text, signature])).toEqual(
          winner.passages.map(({ text }) => [text, winner.signature]),
        );
      }
      await other.close();
    });
  });

  it("may have any source", async () => {
    await withStore(async (store) => {
      const sources = [
        "it's",
        '"q"',
        "a\\b",
        "a\\'b",
        "new\nline",
        "🦊 é/日本",
        "%_%",
        "--x",
        "/*",
        ";",
        "''",
        "$" + "{x}",
        "a\0b",
      ];
      await indexTexts(store, Object.fromEntries(sources.map((source, i) => [source, [`Text${i} shared`]])));
      for (const [i, source] of sources.entries()) {
        expect((await store.list({ sources: [source] })).map(({ text }) => text)).toEqual([`Text${i} shared`]);
        await indexTexts(store, { [source]: [`New${i} shared`] });
        expect(await found(store, `new${i}`)).toEqual([`New${i} shared`]);
      }
      expect((await store.documents()).size).toBe(sources.length);
      for (const source of sources) expect(await store.removeDocuments([source])).toBe(1);
      expect(await store.list()).toEqual([]);
    });
  });

  it("are found by the names of files and folders", async () => {
    await withStore(async (store) => {
      const base = join(process.cwd(), "docs");
      const jsonl = join(base, "c.jsonl");
      await indexTexts(store, {
        [join(base, "a.txt")]: ["One"],
        [join(base, "d/b.md")]: ["Two"],
        "/docs2/x.txt": ["Three"],
      });
      await index(store, [{ ...documentOf(store, `${jsonl}#7`, ["Four"]), file: jsonl }]);
      const resolve = async (...names: string[]): Promise<string[]> =>
        (await store.resolveSources(names)).map((source) => source.replace(base, ""));
      expect(await resolve()).toEqual([]);
      expect(await resolve("docs/a.txt")).toEqual(["/a.txt"]);
      expect(await resolve("docs")).toEqual(["/a.txt", "/c.jsonl#7", "/d/b.md"]);
      expect(await resolve("docs/d/", "docs/c.jsonl")).toEqual(["/c.jsonl#7", "/d/b.md"]);
      expect(await resolve("docs/c.jsonl#7", `${jsonl}#7`)).toEqual(["/c.jsonl#7"]);
      expect(await store.resolveSources(["/"])).toHaveLength(4);
      await expect(store.resolveSources(["doc"])).rejects.toMatchObject({ code: "not-found" });
    });
  });
});

describe("passages by id", () => {
  it("are found by unique beginnings", async () => {
    await withStore(async (store) => {
      await indexTexts(store, { "/a.txt": Array.from({ length: 30 }, (_, i) => `Passage number ${i}`) });
      const [first, second] = await store.list();
      expect(await store.get([second!.id, first!.id.slice(0, 6), ` ${first!.id.toUpperCase()} `])).toEqual([
        second,
        first,
        first,
      ]);
      expect(await store.get([])).toEqual([]);
      await expect(store.get(["000000000000"])).rejects.toMatchObject({ code: "not-found" });
      for (const id of ["", first!.id.slice(0, 5), "zzzzzzzz", "a' OR 'a", "a%a%a%", `${first!.id}0`]) {
        await expect(store.get([id])).rejects.toMatchObject({ code: "bad-argument" });
      }
    });
  });

  it("are refused where several begin alike", async () => {
    await withStore(async (store) => {
      const byBeginning = new Map<string, number>();
      let pair: [number, number] | undefined;
      for (let i = 0; pair === undefined; i++) {
        const beginning = passageId(`/${i}`, 0, "Text").slice(0, 6);
        const earlier = byBeginning.get(beginning);
        if (earlier === undefined) byBeginning.set(beginning, i);
        else pair = [earlier, i];
      }
      await indexTexts(store, { [`/${pair[0]}`]: ["Text"], [`/${pair[1]}`]: ["Text"] });
      const [first, second] = await store.list();
      expect(first!.id.slice(0, 6)).toBe(second!.id.slice(0, 6));
      const reading = store.get([first!.id.slice(0, 6)]);
      await expect(reading).rejects.toMatchObject({ code: "bad-argument" });
      await expect(reading).rejects.toThrow("Give more digits");
      expect(await store.get([second!.id])).toEqual([second]);
    });
  });
});
