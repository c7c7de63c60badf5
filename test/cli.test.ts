/** The command line from outside: real processes on real files, from documents to an answer. */
import { cp, mkdtemp, readdir, readFile, rm, truncate, unlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { picaso } from "./support/cli.js";

const examples = fileURLToPath(new URL("../examples/docs", import.meta.url));
const tower = "The Eiffel Tower is a tower in Paris. The Eiffel Tower was completed in 1889.";

let folder: string;
let docs: string;
const inFolder = (...args: string[]) => picaso([...args, "--store", join(folder, "store")], { cwd: folder });
const json = async (...args: string[]) => {
  const { stdout, stderr, code } = await inFolder(...args, "--json");
  expect(stderr.split("\n").filter((line) => line.includes('"error"'))).toEqual([]);
  return { code, ...JSON.parse(stdout) };
};

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "picaso-cli-"));
  docs = join(folder, "docs");
  for (const name of ["eiffel-tower.md", "penicillin.txt", "beethoven.html", "inventions.jsonl"]) {
    await cp(join(examples, name), join(docs, name));
  }
});

afterAll(() => rm(folder, { recursive: true, force: true }));

describe("picaso", () => {
  it("explains itself, and tells bad usage by exit code 2", async () => {
    const help = await picaso(["--help"]);
    expect(help.code).toBe(0);
    for (const verb of ["index", "ask", "ls", "rm", "stats", "verify", "gc", "model", "doctor"]) {
      expect(help.stdout).toContain(`  ${verb}`);
    }
    for (const args of [[], ["index"], ["frobnicate"], ["ask", "x", "-k", "none"], ["ask", "x", "--method", "best"]]) {
      expect((await picaso(args)).code, args.join(" ")).toBe(2);
    }
  });

  it("tells bad usage as an object with --json", async () => {
    for (const args of [
      ["ask", "x", "--json", "-k", "none"],
      ["frobnicate", "--json"],
    ]) {
      const { code, stdout, stderr } = await picaso(args, { cwd: folder });
      expect(code, args.join(" ")).toBe(2);
      expect(stdout).toBe("");
      expect(JSON.parse(stderr).error.code).toBe("bad-argument");
    }
  });

  it("reads options from the environment: the flag wins, empty is unset, 0 is off", async () => {
    const run = (env: NodeJS.ProcessEnv, ...args: string[]) => picaso(["ls", ...args], { cwd: folder, env });
    expect((await run({ PICASO_STORE: "elsewhere" })).stderr).toContain("elsewhere");
    expect((await run({ PICASO_STORE: "elsewhere" }, "--store", "here")).stderr).toContain("here");
    expect((await run({ PICASO_STORE: "" })).stderr).toContain(".picaso");
    expect(JSON.parse((await run({ PICASO_JSON: "1" })).stderr).error.code).toBe("not-found");
    expect((await run({ PICASO_JSON: "0" })).stderr).toMatch(/^picaso: /);
    for (const env of [{ PICASO_JSON: "maybe" }, { PICASO_THREADS: "1000000" }, { PICASO_THREADS: "0" }]) {
      expect((await run(env)).code, JSON.stringify(env)).toBe(2);
    }
  });

  it("makes no store in a file or a folder of something else", async () => {
    for (const store of ["docs", "docs/penicillin.txt"]) {
      const { code, stderr } = await picaso(["index", "docs", "--store", store], { cwd: folder });
      expect(code).toBe(2);
      expect(stderr).toContain("--store");
    }
    expect((await readdir(docs)).sort()).toEqual([
      "beethoven.html",
      "eiffel-tower.md",
      "inventions.jsonl",
      "penicillin.txt",
    ]);
  });

  it("says what to do where there is no store", async () => {
    const { code, stderr } = await inFolder("ask", "Anything?");
    expect(code).toBe(1);
    expect(stderr).toContain("picaso index");
  });

  it("indexes each format, then nothing, then exactly what changed", async () => {
    const first = await json("index", "docs");
    expect(first).toMatchObject({ code: 0, documents: { added: 10, changed: 0, unchanged: 0, removed: 0 } });
    const again = await json("index", "docs");
    expect(again).toMatchObject({
      documents: { added: 0, changed: 0, unchanged: 10, removed: 0 },
      passages: { encoded: 0, reused: 0 },
    });

    await writeFile(join(docs, "penicillin.txt"), "Penicillin was discovered by Alexander Fleming in 1928.\n");
    await writeFile(join(docs, "new.txt"), `${tower}\n`);
    await unlink(join(docs, "beethoven.html"));
    const changed = await json("index", "docs");
    expect(changed).toMatchObject({
      documents: { added: 1, changed: 1, unchanged: 8, removed: 1 },
      passages: { encoded: 2, reused: 0 },
    });
    expect(await json("stats")).toMatchObject({ documents: 10, orphans: 0 });
  });

  it("counts empty documents and files of other kinds, and stores nothing of them", async () => {
    await writeFile(join(docs, "empty.txt"), " \n");
    await writeFile(join(docs, "image.png"), "");
    for (const _ of [1, 2]) {
      const report = await json("index", "docs");
      expect(report).toMatchObject({ documents: { added: 0, unchanged: 10, removed: 0, empty: 1 }, skipped: 1 });
    }
    await unlink(join(docs, "empty.txt"));
    await unlink(join(docs, "image.png"));
  });

  it("remembers how documents are cut, and says when that changes", async () => {
    const store = join(folder, "cut");
    const index = async (...args: string[]) =>
      JSON.parse((await picaso(["index", join(docs, "eiffel-tower.md"), "--store", store, "--json", ...args])).stdout);
    expect(await index("--passage-tokens", "64")).toMatchObject({ recut: false, documents: { added: 1 } });
    expect(await index()).toMatchObject({
      recut: false,
      settings: { passageTokens: 64, overlap: 0 },
      documents: { unchanged: 1 },
    });
    expect(await index("--passage-tokens", "32")).toMatchObject({ recut: true, documents: { changed: 1 } });
    const { passages } = JSON.parse(await readFile(join(store, "store.json"), "utf8"));
    expect(passages).toEqual({ passageTokens: 32, overlap: 0 });
  });

  it("says that an answer without passages comes from the model alone", async () => {
    const { stderr, code } = await inFolder("ask", "Xyzzy plugh?", "--max-tokens", "4");
    expect(code).toBe(0);
    expect(stderr).toContain("model alone");
  });

  it("refuses a context named twice", async () => {
    const [{ id }] = JSON.parse((await inFolder("ls", "--passages", "--limit", "1", "--json")).stdout);
    const { code, stderr } = await inFolder("ask", "Who?", "--contexts", `${id},${id}`);
    expect(code).toBe(2);
    expect(stderr).toContain("twice");
  });

  it("takes an interruption for what it is: what is encoded stays", async () => {
    const store = join(folder, "interrupted");
    const run = picaso(["index", examples, "--store", store, "--json", "--passage-tokens", "64"]);
    run.child.stderr.on("data", (chunk) => {
      if (String(chunk).includes('"encoding"')) run.child.kill("SIGINT");
    });
    const { code, stderr } = await run;
    expect(code).toBe(1);
    const { error } = JSON.parse(stderr.trim().split("\n").at(-1)!);
    expect(error.code).toBe("aborted");
    const encoded = Number(/after (\d+)/.exec(error.found)?.[1]);
    expect(encoded).toBeGreaterThan(0);
    const resumed = JSON.parse(
      (await picaso(["index", examples, "--store", store, "--json", "--passage-tokens", "64"])).stdout,
    );
    expect(resumed.passages.reused).toBeGreaterThanOrEqual(encoded);
  });

  it("answers from the documents with every method, and names its sources", async () => {
    for (const method of ["picaso-r", "picaso-s", "caso", "soup", "concat"]) {
      const answer = await json("ask", "When was the Eiffel Tower completed?", "-k", "1", "--method", method);
      expect(answer.answer, method).toContain("1889");
      expect(answer.contexts).toHaveLength(1);
      expect(answer.contexts[0].source).toBe(join(docs, "new.txt"));
    }
    const none = await json("ask", "When was the Eiffel Tower completed?", "--method", "none");
    expect(none.contexts).toEqual([]);
  });

  it("prints the object that programs rely on", async () => {
    const answer = await json("ask", "Who discovered penicillin?", "-k", "2");
    expect(Object.keys(answer).sort()).toEqual(
      ["answer", "code", "contexts", "k", "method", "timings", "tokens"].sort(),
    );
    expect(Object.keys(answer.contexts[0]).sort()).toEqual(["id", "score", "source", "text", "weight"]);
    expect(Object.keys(answer.tokens).sort()).toEqual(["contexts", "generated", "prompt"]);
    expect(Object.keys(answer.timings).sort()).toEqual(
      ["composeMs", "firstTokenMs", "loadMs", "prefillMs", "retrieveMs", "totalMs"].sort(),
    );
  });

  it("gives one answer whatever the order of the contexts", async () => {
    const { stdout } = await inFolder("ls", "--passages", "--json");
    const ids = (JSON.parse(stdout) as { id: string }[]).slice(0, 3).map(({ id }) => id) as [string, string, string];
    const [a, b, c] = ids;
    const ask = async (method: string, order: string[]) =>
      (await json("ask", "Who was it?", "--method", method, "--contexts", order.join(","), "--max-tokens", "12"))
        .answer;
    const s = await ask("picaso-s", [a, b, c]);
    for (const order of [
      [a, c, b],
      [b, a, c],
      [c, b, a],
    ])
      expect(await ask("picaso-s", order)).toBe(s);
    const r = await ask("picaso-r", [a, b, c]);
    for (const order of [
      [b, c, a],
      [c, a, b],
    ])
      expect(await ask("picaso-r", order)).toBe(r);
  });

  it("streams the answer to stdout and nothing else with --quiet", async () => {
    const { stdout, stderr } = await inFolder("ask", "When was the Eiffel Tower completed?", "-k", "1", "--quiet");
    expect(stdout.trim()).toBe("1889");
    expect(stderr).toBe("");
  });

  it("reports a file it cannot read, indexes the others, and exits with 1", async () => {
    await writeFile(join(docs, "broken.txt"), Buffer.from([0x41, 0xff, 0xfe, 0x42]));
    const { code, failures, documents } = await json("index", "docs");
    expect(code).toBe(1);
    expect(failures).toHaveLength(1);
    expect(failures[0].message).toContain("broken.txt");
    expect(documents.unchanged).toBe(10);
    await unlink(join(docs, "broken.txt"));
  });

  it("finds damage, does not answer from what is missing, and mends it by indexing again", async () => {
    expect((await inFolder("verify")).code).toBe(0);
    const states = (await readdir(join(folder, "store/states"), { recursive: true })).filter((n) =>
      n.endsWith("tensors"),
    );
    await truncate(join(folder, "store/states", states[0]!), 1000);
    const verified = await inFolder("verify", "--json");
    expect(verified.code).toBe(1);
    expect(JSON.parse(verified.stdout).problems.length).toBeGreaterThan(0);
    await inFolder("index", "docs");
    expect((await inFolder("verify")).code).toBe(0);
  });

  it("removes documents", async () => {
    const { removed } = await json("rm", "docs/new.txt");
    expect(removed).toEqual([join(docs, "new.txt")]);
    const { code, stderr } = await inFolder("rm", "docs/new.txt");
    expect(code).toBe(1);
    expect(stderr).toContain("new.txt");
    expect((await inFolder("gc", "--older-than", "0")).code).toBe(0);
  });

  it("refuses a store of another model", async () => {
    const store = join(folder, "store/store.json");
    const text = await readFile(store, "utf8");
    await writeFile(
      store,
      text.replace(/"fingerprint":\s*"[0-9a-f]{4}/, (found) => found.replace(/.{4}$/, "0000")),
    );
    const { code, stderr } = await inFolder("ask", "Anything?");
    await writeFile(store, text);
    expect(code).toBe(1);
    expect(stderr).toMatch(/0000/);
  });

  it("goes on where it was killed", async () => {
    const store = join(folder, "killed");
    const index = () => picaso(["index", examples, "--store", store, "--json", "--passage-tokens", "128"]);
    const run = index();
    // Kills the process once some passages have been encoded.
    await new Promise<void>((resolve) => {
      run.child.stderr.on("data", (chunk) => {
        if (/"encoding","done":(3[2-9]|[4-9]\d)/.test(String(chunk))) resolve();
      });
      run.child.on("close", () => resolve());
    });
    run.child.kill("SIGKILL");
    await run;
    const resumed = JSON.parse((await index()).stdout);
    expect(resumed.passages.reused).toBeGreaterThan(0);
    const verified = JSON.parse((await picaso(["verify", "--store", store, "--json"])).stdout);
    expect(verified.problems).toEqual([]);
    expect(verified.passages).toBe(resumed.passages.encoded + resumed.passages.reused);
  });
});
