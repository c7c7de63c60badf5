import { appendFile, readFile } from "node:fs/promises";
import { expect, test } from "vitest";
import { useScratch } from "../../test/support/scratch.js";
import { Journal } from "./journal.js";
import { plotLossCurve } from "./loss-curve.js";

const scratch = useScratch();

test("takes back what a killed process wrote after its last checkpoint, half lines included", async () => {
  const path = scratch.path("a", "training.jsonl");
  const journal = new Journal(path);
  await journal.restart(0);
  for (let step = 1; step <= 5; step++) await journal.add({ step, loss: step / 10 });
  await journal.add({ step: 5, validationLoss: 0.1 });
  await appendFile(path, '{"step":6,"lo');
  await journal.restart(3);
  expect((await journal.read()).map(({ step }) => step)).toEqual([1, 2, 3]);
  await journal.add({ step: 4, loss: 0.25 });
  expect(await readFile(path, "utf8")).toMatch(/\{"step":4,"loss":0.25\}\n$/);
});

test("a folder in its place is an error that names it", async () => {
  const journal = new Journal(scratch.path());
  await expect(journal.read()).rejects.toMatchObject({ code: "failed", details: { where: scratch.path() } });
});

test("the picture of losses and validations", () => {
  const svg = plotLossCurve([
    { step: 1, loss: 3 },
    { step: 2, loss: 2 },
    { step: 2, validationLoss: 2.5 },
    { step: 3, loss: 1.5 },
    { step: 4, loss: 1 },
    { step: 4, validationLoss: 1.25 },
  ]);
  expect(svg).toContain('xmlns="http://www.w3.org/2000/svg"');
  expect(svg).toContain("running mean");
  expect(svg).toContain("validation");
  expect(svg.match(/<circle/g)).toHaveLength(2);
  expect(svg).not.toContain("NaN");
  expect(plotLossCurve([])).toMatch(/^<svg/);
});
