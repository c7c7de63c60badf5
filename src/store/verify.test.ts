import { readFile, rm, stat, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { encodeState } from "../state/state-file.js";
import type { Catalog } from "./catalog.js";
import type { StoredPassage } from "./passage.js";
import type { StateStore } from "./store.js";
import { fakeState, indexTexts, model, tokensOf, withStore } from "./test-store.js";

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

describe("verify", () => {
  it("finds nothing wrong with a good store, reporting progress", async () => {
    await withStore(async (store) => {
      expect(await store.verify()).toEqual({ passages: 0, states: 0, problems: [], orphans: [] });
      await indexTexts(store, { "/a.txt": ["One", "Two"], "/b.txt": ["Two", "Three"] });
      const steps: number[] = [];
      const report = await store.verify({ onProgress: ({ done, total }) => steps.push(done / total) });
      expect(report).toEqual({ passages: 4, states: 3, problems: [], orphans: [] });
      expect(steps).toHaveLength(3);
      expect(steps.at(-1)).toBe(1);
      expect(steps).toEqual([...steps].sort());
    });
  });

  it("finds a missing state, a cut one, a single wrong bit, another's state and another model's", async () => {
    await withStore(async (store, directory) => {
      const texts = [
        "Missing",
        "Cut off",
        "Bit in data",
        "Bit in header",
        "Swapped",
        "Model",
        "Shape",
        "Tokens",
        "Good",
      ];
      await indexTexts(store, { "/a.txt": texts, "/b.txt": ["Bit in data"] });
      const passages = await store.list({ sources: ["/a.txt"] });
      const [missing, cut, data, header, swapped, foreign, shape, tokens, good] = passages.map((passage) => ({
        ...passage,
        path: stateFile(directory, passage),
        extra: { stateId: passage.stateId },
      }));
      await rm(missing!.path);
      await truncate(cut!.path, cut!.stateBytes - 1);
      const flip = async (path: string, at: number): Promise<void> => {
        const bytes = await readFile(path);
        bytes[at < 0 ? bytes.length + at : at]! ^= 0x10;
        await writeFile(path, bytes);
      };
      await flip(data!.path, -300);
      await flip(header!.path, 60);
      await writeFile(swapped!.path, await readFile(good!.path));
      const options = { codec: "f32" as const, textHash: foreign!.textHash };
      const other = { ...model, fingerprint: "fake-model-2" };
      await writeFile(
        foreign!.path,
        encodeState(fakeState(tokensOf("Model"), other), { ...options, extra: foreign!.extra }),
      );
      const wide = { ...model, stateShape: { ...model.stateShape, convDim: 4 } };
      await writeFile(
        shape!.path,
        encodeState(fakeState(tokensOf("Shape"), wide), { ...options, extra: shape!.extra }),
      );
      await writeFile(tokens!.path, encodeState(fakeState(tokensOf("Token")), { ...options, extra: tokens!.extra }));

      const { problems, passages: count } = await store.verify();
      expect(count).toBe(10);
      const problemOf = (passage: { id: string } | undefined): string | undefined =>
        problems.find(({ id }) => id === passage!.id)?.problem;
      expect(problemOf(missing)).toMatch(/found nothing/);
      expect(problemOf(cut)).toMatch(/set aside/);
      expect(problemOf(data)).toMatch(/checksum/);
      expect(problemOf(header)).toMatch(/header|metadata|expected/);
      expect(problemOf(swapped)).toMatch(`expected ${swapped!.stateId}, found ${good!.stateId}`);
      expect(problemOf(foreign)).toMatch(/fake-model-1.*fake-model-2/);
      expect(problemOf(shape)).toMatch(/C5.*C4/);
      expect(problemOf(tokens)).toMatch(/6 tokens are listed, the state has 5/);
      expect(problemOf(good)).toBeUndefined();
      // The damaged state of two passages is a problem of both.
      expect(
        problems
          .filter(({ file }) => file === data!.path)
          .map(({ source }) => source)
          .sort(),
      ).toEqual(["/a.txt", "/b.txt"]);
      expect(problems).toHaveLength(9);
      for (const { source, id, file } of problems) {
        expect((await store.get([id]))[0]).toMatchObject({ source });
        expect(file).toContain(directory);
      }

      // What was damaged is out of the way: indexing again repairs all but the wrong count.
      expect((await store.documents()).get("/a.txt")).toMatchObject({ whole: false });
      expect((await store.documents()).get("/b.txt")).toMatchObject({ whole: false });
      await rm(tokens!.path);
      await indexTexts(store, { "/a.txt": texts, "/b.txt": ["Bit in data"] });
      const again = await store.verify();
      expect(again.problems).toEqual([]);
      expect(again.orphans).toHaveLength(6);
      expect(again.orphans.every((path) => path.startsWith("states/") && path.endsWith(".damaged"))).toBe(true);
      expect(await store.gc({ olderThanMs: 0 })).toMatchObject({ removed: 6, spared: 0 });
    });
  });

  it("finds a text that was changed", async () => {
    await withStore(async (store) => {
      await indexTexts(store, { "/a.txt": ["One"] });
      const [passage] = await store.list();
      await (await catalogOf(store)).replace(["/a.txt"], [{ ...passage!, text: "Two", key: "a" }]);
      const { problems } = await store.verify();
      expect(problems).toMatchObject([
        { id: passage!.id, source: "/a.txt", problem: expect.stringMatching(/text.*hash/) },
      ]);
    });
  });

  it("finds a size that is not the one listed", async () => {
    await withStore(async (store, directory) => {
      await indexTexts(store, { "/a.txt": ["One"] });
      const [passage] = await store.list();
      const longer = encodeState(fakeState(tokensOf("One")), {
        codec: "f32",
        extra: { stateId: passage!.stateId, more: "x".repeat(200) },
      });
      await writeFile(stateFile(directory, passage!), longer);
      const { problems } = await store.verify();
      expect(problems.map(({ problem }) => problem)).toEqual([
        `${passage!.stateBytes} bytes are listed, the state has ${longer.length}`,
      ]);
    });
  });

  it("does not set aside what a newer version wrote", async () => {
    await withStore(async (store, directory) => {
      await indexTexts(store, { "/a.txt": ["One"] });
      const path = stateFile(directory, (await store.list())[0]!);
      const text = (await readFile(path)).toString("latin1");
      await writeFile(path, Buffer.from(text.replace('"version":"2"', '"version":"3"'), "latin1"));
      const { problems } = await store.verify();
      expect(problems[0]!.problem).toMatch(/version/);
      expect(problems[0]!.problem).not.toMatch(/set aside/);
      await stat(path);
    });
  });

  it("lists orphans and leftovers", async () => {
    await withStore(async (store, directory) => {
      await indexTexts(store, { "/a.txt": ["One"] });
      const orphan = await putOrphan(store, "Orphan");
      const leftover = `${stateFile(directory, (await store.list())[0]!)}.1-abc.tmp`;
      await writeFile(leftover, "half");
      await writeFile(join(directory, "states", "README"), "not ours");
      const { problems, orphans } = await store.verify();
      expect(problems).toEqual([]);
      expect(orphans.sort()).toEqual([orphan, leftover].map((path) => path.slice(directory.length + 1)).sort());
      expect((await store.stats()).orphans).toBe(2);
    });
  });

  it("stops when it is told to", async () => {
    await withStore(async (store) => {
      await indexTexts(store, { "/a.txt": ["One", "Two", "Three"] });
      const controller = new AbortController();
      const verifying = store.verify({ signal: controller.signal, onProgress: () => controller.abort() });
      await expect(verifying).rejects.toMatchObject({ code: "aborted" });
    });
  });
});
