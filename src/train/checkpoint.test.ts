import { mkdir, readdir, readFile, truncate, writeFile } from "node:fs/promises";
import { expect, test } from "vitest";
import { useScratch } from "../../test/support/scratch.js";
import { Checkpoints, type TrainerState } from "./checkpoint.js";
import { AdamW } from "./optimizer.js";
import type { HostTensor } from "./parameters.js";

const scratch = useScratch();

const make = (value: number) => {
  const parameters = new Map<string, HostTensor>([
    ["a.weight", { shape: [2, 3], data: new Float32Array(6).fill(value) }],
    ["b.bias", { shape: [2], data: Float32Array.of(value, -value) }],
  ]);
  return { parameters, optimizer: new AdamW(parameters) };
};
const state = (step: number, best: TrainerState["best"] = null): TrainerState => {
  return { step, best, checksWithoutGain: 0, validatedStep: null, settings: { seed: 1 } };
};

test("parameters, moments and state come back as they were, and the last checkpoint replaces the others", async () => {
  const checkpoints = new Checkpoints(scratch.path("a"));
  expect(await checkpoints.last()).toBeNull();
  const { parameters, optimizer } = make(2);
  for (const step of [1, 2]) {
    optimizer.step(new Map([...parameters].map(([name, { data }]) => [name, data.slice()])), step, 0.1);
    if (step === 1) await checkpoints.saveBest(1, parameters);
    await checkpoints.save(state(step, { step: 1, loss: 3 }), parameters, optimizer);
  }
  expect((await readdir(scratch.path("a"))).sort()).toEqual(["best-1", "step-2"]);
  expect(await checkpoints.last()).toEqual(state(2, { step: 1, loss: 3 }));
  const again = make(0);
  await checkpoints.restore(2, again.parameters, again.optimizer);
  expect(again.parameters).toEqual(parameters);
  expect(again.optimizer.moments).toEqual(optimizer.moments);
  await checkpoints.restoreBest(1, again.parameters);
  expect(again.parameters).not.toEqual(parameters);
});

test("what a killed process left unfinished is passed over", async () => {
  const folder = scratch.path("b");
  const checkpoints = new Checkpoints(folder);
  const { parameters, optimizer } = make(1);
  await checkpoints.save(state(3), parameters, optimizer);
  await mkdir(`${folder}/step-9.123-abc.tmp`);
  await writeFile(`${folder}/step-9.123-abc.tmp/trainer.json`, "{");
  expect((await checkpoints.last())?.step).toBe(3);
});

test.each<[string, (folder: string) => Promise<void>, RegExp]>([
  ["trainer.json cut short", (folder) => truncate(`${folder}/trainer.json`, 10), /trainer.json/],
  ["a step that is no number", (folder) => edit(folder, '"step": 3', '"step": -3'), /step/],
  ["no settings", (folder) => edit(folder, '"settings"', '"other"'), /settings/],
  ["tensors cut short", (folder) => truncate(`${folder}/state.safetensors`, 100), /state.safetensors/],
])("%s: an error that says so", async (name, damage, message) => {
  const folder = scratch.path(name);
  const checkpoints = new Checkpoints(folder);
  const { parameters, optimizer } = make(1);
  await checkpoints.save(state(3), parameters, optimizer);
  await damage(`${folder}/step-3`);
  const restore = async () => {
    const last = await checkpoints.last();
    await checkpoints.restore(last!.step, parameters, optimizer);
  };
  await expect(restore()).rejects.toMatchObject({ code: "bad-file" });
  await expect(restore()).rejects.toThrow(message);
});

test("tensors of another shape, or none, are named", async () => {
  const checkpoints = new Checkpoints(scratch.path("c"));
  const { parameters, optimizer } = make(1);
  await checkpoints.save(state(1), parameters, optimizer);
  parameters.set("b.bias", { shape: [3], data: new Float32Array(3) });
  await expect(checkpoints.restore(1, parameters, new AdamW(parameters))).rejects.toThrow(/b\.bias.*\[3\].*\[2\]/);
  parameters.delete("b.bias");
  parameters.set("c.bias", { shape: [3], data: new Float32Array(3) });
  await expect(checkpoints.restore(1, parameters, new AdamW(parameters))).rejects.toThrow(/c\.bias.*no such tensor/);
});

async function edit(folder: string, from: string, to: string): Promise<void> {
  const path = `${folder}/trainer.json`;
  const text = await readFile(path, "utf8");
  expect(text).toContain(from);
  await writeFile(path, text.replace(from, to));
}
