import { type ChildProcessWithoutNullStreams, spawn } from "node:child_process";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import { StateStore } from "./store.js";
import { indexTexts, model, withFolder } from "./test-store.js";

const script = fileURLToPath(new URL("./test-process.ts", import.meta.url));

interface Running {
  process: ChildProcessWithoutNullStreams;
  /** Exit code or signal, and the lines of both outputs. */
  ended: Promise<{ end: number | string | null; lines: Record<string, unknown>[]; errors: string }>;
}

function start(...args: string[]): Running {
  const child = spawn(process.execPath, ["--import", "tsx", script, ...args]);
  let out = "";
  let errors = "";
  child.stdout.on("data", (chunk) => {
    out += chunk;
  });
  child.stderr.on("data", (chunk) => {
    errors += chunk;
  });
  const ended = new Promise<Awaited<Running["ended"]>>((resolve) => {
    child.on("close", (code, signal) => {
      // A killed process may have left half a line.
      const lines = out.split("\n").slice(0, -1);
      resolve({ end: signal ?? code, lines: lines.map((line) => JSON.parse(line)), errors });
    });
  });
  return { process: child, ended };
}

/** Every document is listed in one version, from its first passage to its last, with its states. */
async function expectWhole(store: StateStore): Promise<void> {
  const passages = await store.list();
  for (const [source, document] of await store.documents()) {
    expect(document.whole).toBe(true);
    const own = passages.filter((passage) => passage.source === source);
    expect(own.map(({ position }) => position)).toEqual(own.map((_, i) => i));
    expect(new Set(own.map(({ signature }) => signature)).size).toBe(1);
  }
  expect(new Set(passages.map(({ id }) => id)).size).toBe(passages.length);
  expect((await store.verify()).problems).toEqual([]);
  const found = await store.search("passage", { k: 10_000 });
  expect(found.map(({ passage }) => passage.id).sort()).toEqual(passages.map(({ id }) => id).sort());
}

describe("several processes at one store", () => {
  it("list documents, the same ones among them, while another reads", async () => {
    await withFolder(async (folder) => {
      const directory = join(folder, "store");
      // The writers also race to make the store.
      const writers = ["a", "b"].map((name) => start("write", directory, name, "60"));
      const reader = start("read", directory, "r");
      for (const { ended } of writers) {
        const { end, lines, errors } = await ended;
        expect(errors).toBe("");
        expect(end).toBe(0);
        expect(lines.filter((line) => "listed" in line)).toHaveLength(60);
      }
      reader.process.stdin.end();
      const { end, lines, errors } = await reader.ended;
      expect(errors).toBe("");
      expect(end).toBe(0);
      expect(lines[0]!.searches).toBeGreaterThan(3);
      expect(lines[0]!.states).toBeGreaterThan(3);

      const store = await StateStore.open(directory, { model });
      await expectWhole(store);
      expect((await store.documents()).size).toBeGreaterThan(15);
      expect((await store.gc({ olderThanMs: 0 })).spared).toBe(0);
      await expectWhole(store);
      expect((await store.stats()).orphans).toBe(0);
      await store.close();
    });
  }, 180_000);

  it("may be killed at any moment", async () => {
    await withFolder(async (folder) => {
      const directory = join(folder, "store");
      const store = await StateStore.open(directory, { model, codec: "f32" });
      await indexTexts(store, { "/kept": ["kept passage one", "kept passage two"] });
      let listed = 0;
      for (let round = 0; round < 6; round++) {
        const writer = start("write", directory, `w${round}`);
        // Until it has listed something; should it end by itself, what follows says why.
        await Promise.race([new Promise((resolve) => writer.process.stdout.once("data", resolve)), writer.ended]);
        await new Promise((resolve) => setTimeout(resolve, 37 * round + 150 * Math.random()));
        writer.process.kill("SIGKILL");
        const { end, lines, errors } = await writer.ended;
        expect({ end, errors }).toEqual({ end: "SIGKILL", errors: "" });
        listed += lines.length;
        const opened = await StateStore.open(directory, { model });
        await expectWhole(opened);
        expect((await opened.search("kept", { k: 5 })).map(({ passage }) => passage.source)).toEqual([
          "/kept",
          "/kept",
        ]);
        await opened.close();
      }
      expect(listed).toBeGreaterThan(6);
      await store.gc({ olderThanMs: 0 });
      expect(await store.verify()).toMatchObject({ problems: [], orphans: [] });
      await expectWhole(store);
      await store.close();
    });
  }, 180_000);
});
