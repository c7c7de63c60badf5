/** `picaso train` from outside: a real process that is killed and goes on, and the model it leaves. */
import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { LanguageModel } from "../src/model/language-model.js";
import { picaso } from "./support/cli.js";
import { makeGoldenFolder } from "./support/golden.js";

let folder: string;
let model: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "picaso-train-"));
  model = await makeGoldenFolder("golden-g1", join(folder, "model"));
  const rows = Array.from({ length: 24 }, (_, i) => ({
    contexts: Array.from({ length: i % 4 }, (_, k) => `passage ${i} and ${k} of many`),
    question: `what is ${i}?`,
    answer: `it is ${i}`,
  }));
  await writeFile(join(folder, "rows.jsonl"), rows.map((row) => JSON.stringify(row)).join("\n"));
});

afterAll(() => rm(folder, { recursive: true, force: true }));

const env = () => ({ PICASO_CACHE: join(folder, "cache") });
const command = (out: string, ...more: string[]) => [
  ...["train", "--task", "examples", "--data", "rows.jsonl", "--model", model, "--out", out],
  ...["--batch-size", "2", "--checkpoint-every", "2", "--learning-rate", "1e-3", "--threads", "1", "--json"],
  ...["--validation", "rows.jsonl", "--validate-every", "18", "--epochs", "3", ...more],
];
const run = (...args: string[]) => picaso(args, { cwd: folder, env: env() });
const losses = async (out: string) => {
  const lines = (await readFile(join(folder, out, "training.jsonl"), "utf8")).trimEnd().split("\n");
  return lines
    .map((line) => JSON.parse(line))
    .map(({ step, loss, validationLoss }) => ({ step, loss, validationLoss }));
};

describe("picaso train", () => {
  it("explains itself, and tells bad usage by exit code 2", async () => {
    const help = await run("train", "--help");
    expect(help.code).toBe(0);
    for (const text of ["--mode", "--method", "--lora", "bptc", "msmarco", "kill -9", "Examples:"]) {
      expect(help.stdout).toContain(text);
    }
    for (const more of [
      ["-k", "5-2"],
      ["-k", "2"],
      ["--learning-rate", "0"],
      ["--mode", "sft"],
      ["--device", "abacus"],
      ["--lora", "1000"],
    ]) {
      const { code, stderr } = await run(...command("bad", ...more));
      expect(code, `${more}: ${stderr}`).toBe(2);
    }
    expect((await run(...command("bad", "--lora-alpha", "2"))).stderr).toContain("--lora");
    expect((await run(...command("model"))).code).toBe(2);
  });

  it("names file, row and field of data it cannot use", async () => {
    await writeFile(join(folder, "broken.jsonl"), '{"contexts":["a"],"question":"b","answer":"c"}\n{"contexts":[]}\n');
    const { code, stderr } = await run(...command("broken", "--data", "broken.jsonl"));
    expect(code).toBe(1);
    expect(stderr).toContain("broken.jsonl, line 2");
    expect(stderr).toContain("question");
  });

  it("goes on to the same losses and weights after kill -9", { timeout: 180_000 }, async () => {
    const straight = await run(...command("straight"));
    expect(straight.code, straight.stderr).toBe(0);
    expect(JSON.parse(straight.stdout)).toMatchObject({ output: "straight", steps: 36, stoppedEarly: false });
    const progress = straight.stderr.split("\n").flatMap((line) => {
      const entry = line === "" ? {} : JSON.parse(line);
      return entry.progress === "training" ? [entry] : [];
    });
    const done = progress.map((entry) => entry.done);
    expect([done[0], done.at(-1)]).toEqual([0, 36]);
    expect(done).toEqual([...done].sort((a, b) => a - b));
    for (const { figures } of progress.slice(1)) {
      expect(Object.keys(figures)).toEqual(["loss", "gradient norm", "learning rate", "tokens/s"]);
    }

    const first = run(...command("killed"));
    let text = "";
    first.child.stderr.on("data", (chunk) => {
      text += chunk;
      if (/"done":([4-9]|[12]\d),/.test(text)) first.child.kill("SIGKILL");
    });
    expect((await first).code).toBeNull();
    expect(await readdir(join(folder, "killed"))).not.toContain("config.json");
    const second = await run(...command("killed"));
    expect(second.code, second.stderr).toBe(0);
    expect(second.stderr).toMatch(/Goes on after step \d+ of 36/);
    expect(await losses("killed")).toEqual(await losses("straight"));
    const [a, b] = await Promise.all(
      ["killed", "straight"].map((out) => readFile(join(folder, out, "model.safetensors"))),
    );
    expect(a!.equals(b!)).toBe(true);
  });

  it("writes a model that loads and has learned, and the picture of its course", async () => {
    const output = join(folder, "straight");
    expect((await readdir(output)).sort()).toEqual(
      ["checkpoints", "config.json", "loss.svg", "model.safetensors", "tokenizer.json", "training.jsonl"].sort(),
    );
    expect(await readFile(join(output, "loss.svg"), "utf8")).toMatch(/^<svg .*validation/s);
    const validations = (await losses("straight")).flatMap(({ validationLoss }) => validationLoss ?? []);
    expect(validations).toHaveLength(3);
    expect(validations[2]).toBeLessThan(validations[0]);
    const loaded = await LanguageModel.load(output, { threads: 1 });
    expect(loaded.config.layers).toBe(3);
    await loaded.dispose();
  });

  it("refuses to go on with other options", async () => {
    const { code, stderr } = await run(...command("straight", "--seed", "1"));
    expect(code).toBe(1);
    expect(stderr).toContain("seed");
  });
});
