import { readdir, readFile } from "node:fs/promises";
import { parseHTML } from "linkedom";
import { expect, it } from "vitest";
import { makeGoldenFolder } from "../../test/support/golden.js";
import { useScratch } from "../../test/support/scratch.js";
import { LanguageModel } from "../model/language-model.js";
import { codecNames } from "../state/codec.js";
import type { Curve } from "./curve.js";
import { runBench } from "./run-bench.js";

const scratch = useScratch();

/** Another engine that does nothing. */
const idle: Curve = {
  name: "idle",
  reads: "tokens",
  bytes: () => null,
  prepare: async () => ({
    run: async (newTokens) => ({ stateMs: null, firstTokenMs: 2, totalMs: newTokens > 1 ? 3 : null }),
  }),
};

it("measures every curve at every point, and writes results and plots", async () => {
  const directory = await makeGoldenFolder("golden-g1", scratch.path("model"));
  const model = await LanguageModel.load(directory, { threads: 1 });
  const out = scratch.path("bench");
  const done: number[] = [];
  const report = await runBench(model, {
    ...{ out, threads: 1, contexts: [2, 0, 1], contextTokens: [8, 4], repeat: 2, more: [idle] },
    onProgress: (progress) => done.push(progress.done / progress.total),
  });
  await model.dispose();
  expect((await readdir(out)).sort()).toEqual([
    "64-tokens-by-length.svg",
    "bench.json",
    "first-token-by-contexts.svg",
    "first-token-by-length.svg",
  ]);
  expect(JSON.parse(await readFile(`${out}/bench.json`, "utf8"))).toEqual(report);
  const curves = ["concat", ...codecNames.flatMap((codec) => [`${codec}, memory`, `${codec}, disk`]), "idle"];
  for (const curve of curves) {
    const own = report.points.filter((point) => point.curve === curve);
    expect(own.map(({ contexts, contextTokens }) => [contexts, contextTokens])).toEqual([
      [2, 4],
      [0, 8],
      [1, 8],
      [2, 8],
    ]);
    for (const { firstToken, total, state, reads, contexts, limitMs, bytes } of own) {
      expect(firstToken.count).toBe(2);
      expect(firstToken.median).toBeGreaterThan(0);
      const toTheEnd = contexts === 2 && (reads === "tokens" || curve === "bf16, disk");
      expect(total !== null).toBe(toTheEnd);
      expect(state === null).toBe(reads === "tokens" || contexts === 0);
      expect(limitMs).toBeGreaterThan(0);
      const codec = codecNames.find((name) => curve.startsWith(name));
      expect(bytes).toBe(codec === undefined ? null : contexts * report.bytesPerPassage[codec]);
    }
  }
  expect(report.findings.at).toEqual({ contexts: 2, contextTokens: 8 });
  expect(report.findings.curves).toHaveLength(6);
  expect(done).toEqual([0, 1, 2, 3, 4, 5, 6, 7].map((step) => step / 8));
  for (const name of await readdir(out)) {
    if (!name.endsWith(".svg")) continue;
    const { document } = parseHTML(await readFile(`${out}/${name}`, "utf8"));
    expect(document.documentElement.tagName.toLowerCase()).toBe("svg");
    expect(document.documentElement.textContent).toContain("idle");
  }
});

it("refuses an empty sweep", async () => {
  const model = {} as LanguageModel;
  await expect(runBench(model, { out: scratch.path("none"), threads: 1, contexts: [] })).rejects.toThrow(
    /numbers to sweep/,
  );
});
