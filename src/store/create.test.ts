import { readdir, readFile, rm, writeFile } from "node:fs/promises";
import { join, sep } from "node:path";
import { describe, expect, it } from "vitest";
import { StateStore } from "./store.js";
import { indexTexts, model, withFolder, withStore } from "./test-store.js";

async function found(store: StateStore, query: string): Promise<string[]> {
  return (await store.search(query, { k: 10 })).map(({ passage }) => passage.text);
}

describe("opening a store", () => {
  it("makes one for a model, and opens it with or without the model", async () => {
    await withFolder(async (folder) => {
      const path = join(folder, "deep", "é 'store");
      const made = await StateStore.open(path, { model });
      expect(made).toMatchObject({ directory: path, fingerprint: "fake-model-1", codec: "bf16", model });
      await indexTexts(made, { "/a.txt": ["Some text"] });
      await made.close();
      for (const options of [{}, { model }, { model, codec: "bf16" } as const, { model, mode: "existing" } as const]) {
        const store = await StateStore.open(path, options);
        expect(store).toMatchObject({ fingerprint: "fake-model-1", stateShape: model.stateShape, codec: "bf16" });
        expect(await found(store, "text")).toEqual(["Some text"]);
        await store.close();
      }
    });
  });

  it("takes a relative path as seen from the current folder", async () => {
    await withFolder(async (folder) => {
      const relative = join("..", "..", "..", "..", "..", "..", folder, "bare").split(sep).join("/");
      const store = await StateStore.open(relative, { model });
      await indexTexts(store, { "/a.txt": ["Some text"] });
      await store.close();
      expect(await readdir(store.directory)).toEqual(["catalog", "states", "store.json"]);
    });
  });

  it("does not make one without a model, or where it has to exist", async () => {
    await withFolder(async (folder) => {
      for (const options of [{}, { mode: "create" } as const, { model, mode: "existing" } as const]) {
        const opening = StateStore.open(join(folder, "none"), options);
        await expect(opening).rejects.toMatchObject({ code: "not-found" });
        await expect(opening).rejects.toThrow("Run `picaso index PATH...` first");
      }
      expect(await readdir(folder)).toEqual([]);
    });
  });

  it("refuses another model or codec, naming both", async () => {
    await withStore(async (_, directory) => {
      const other = { ...model, fingerprint: "other-model" };
      const opening = StateStore.open(directory, { model: other });
      await expect(opening).rejects.toMatchObject({ code: "mismatch" });
      await expect(opening).rejects.toThrow(/other-model .*fake-model-1 /);
      const wider = { ...model, stateShape: { ...model.stateShape, heads: 3 } };
      await expect(StateStore.open(directory, { model: wider })).rejects.toThrow(/L2 H3 .*L2 H2 /);
      await expect(StateStore.open(directory, { codec: "bf16" })).rejects.toThrow(/codec bf16.*codec f32/);
      const unknown = StateStore.open(directory, { model, codec: "f8" as "f32" });
      await expect(unknown).rejects.toMatchObject({ code: "bad-argument" });
    });
  });

  it("reports where one cannot be made", async () => {
    await withFolder(async (folder) => {
      await writeFile(join(folder, "file"), "in the way");
      for (const [path, code] of [
        ["file", "bad-argument"],
        ["file/store", "failed"],
        [".", "bad-argument"],
      ] as const) {
        const opening = StateStore.open(join(folder, path), { model });
        await expect(opening).rejects.toMatchObject({ code, details: { where: join(folder, path) } });
        await expect(StateStore.open(join(folder, path))).rejects.toMatchObject({ code: "not-found" });
      }
    });
  });

  it("refuses addresses", async () => {
    for (const path of ["s3://bucket/x", "db://x", "https://example.org", "memory://"]) {
      await expect(StateStore.open(path, { model })).rejects.toMatchObject({ code: "unsupported" });
    }
  });

  it("reports a damaged description", async () => {
    await withStore(async (store, directory) => {
      const file = join(directory, "store.json");
      const good = JSON.parse(await readFile(file, "utf8"));
      const cases: [string, string, RegExp][] = [
        ["", "bad-file", /JSON/],
        ["{", "bad-file", /JSON/],
        ["null", "bad-file", /expected a JSON object, found null/],
        ['"x"', "bad-file", /JSON object/],
        [JSON.stringify({ ...good, format: "x" }), "bad-file", /format: expected "picaso-store", found "x"/],
        [JSON.stringify({ ...good, version: "1" }), "bad-file", /version/],
        [JSON.stringify({ ...good, version: 2 }), "unsupported", /version: expected version 1, found 2/],
        [JSON.stringify({ ...good, fingerprint: "" }), "bad-file", /fingerprint/],
        [JSON.stringify({ ...good, codec: "f8" }), "unsupported", /codec: expected f32 or bf16, found "f8"/],
        [JSON.stringify({ ...good, stateShape: null }), "bad-file", /stateShape, layers/],
        [JSON.stringify({ ...good, passages: { passageTokens: 64 } }), "bad-file", /passages, overlap.*found nothing/],
        [JSON.stringify({ ...good, stateShape: { ...good.stateShape, heads: -1 } }), "bad-file", /heads.*-1/],
        [" ".repeat(70_000), "bad-file", /at most 65536 bytes, found 70000/],
      ];
      for (const [text, code, message] of cases) {
        await writeFile(file, text);
        await expect(StateStore.open(directory)).rejects.toMatchObject({ code });
        await expect(StateStore.open(directory, { model })).rejects.toThrow(message);
      }
      // Without its description a store with passages is damaged, one without is made again.
      await rm(file);
      await indexTexts(store, { "/a.txt": ["Some text"] });
      await expect(StateStore.open(directory, { model })).rejects.toMatchObject({ code: "bad-file" });
      await store.removeDocuments(["/a.txt"]);
      await (await StateStore.open(directory, { model })).close();
    });
  });

  it("reports a damaged catalog when it is first needed", async () => {
    await withStore(async (_, directory) => {
      await rm(join(directory, "catalog"), { recursive: true });
      const store = await StateStore.open(directory);
      await expect(store.documents()).rejects.toMatchObject({
        code: "bad-file",
        details: { where: join(directory, "catalog") },
      });
      await store.close();
    });
  });

  it("gives one store to all who make it at the same time", async () => {
    await withFolder(async (folder) => {
      const models = Array.from({ length: 6 }, (_, i) => ({ ...model, fingerprint: `model-${i % 2}` }));
      const opened = await Promise.allSettled(
        models.map((each) => StateStore.open(join(folder, "s"), { model: each })),
      );
      const stores = opened.flatMap((each) => (each.status === "fulfilled" ? [each.value] : []));
      expect(stores).toHaveLength(3);
      expect(new Set(stores.map(({ fingerprint }) => fingerprint)).size).toBe(1);
      for (const each of opened)
        if (each.status === "rejected") expect(each.reason).toMatchObject({ code: "mismatch" });
      for (const store of stores) await store.close();
      expect((await readdir(join(folder, "s"))).sort()).toEqual(["catalog", "states", "store.json"]);
    });
  });
});
