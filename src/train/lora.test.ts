/** The gradients of low-rank factors against differences: a loss that is linear in the weight is bilinear in them. */
import { expect, test } from "vitest";
import { Random } from "../evaluate/random.js";
import { LowRankParameters } from "./lora.js";

const [out, input, rank] = [5, 7, 3];
const name = "backbone.layers.0.mixer.in_proj.weight";
const random = Random.of(4);
const draw = (length: number) => Float32Array.from({ length }, () => 2 * random.float() - 1);
const weight = draw(out * input);

const make = () => {
  const other = { shape: [2], data: Float32Array.of(1, 2) };
  const frozen = new Map([
    [name, { shape: [out, input], data: weight }],
    ["backbone.norm_f.weight", other],
  ]);
  return new LowRankParameters(frozen, { rank, alpha: 6 }, 1);
};

test("begins at the model as it was, and leaves its weights alone", () => {
  const parameters = make();
  const before = weight.slice();
  expect(parameters.values().get(name)).toEqual(weight);
  for (const { data } of parameters.trained.values()) data.set(draw(data.length));
  expect(parameters.values().get(name)).not.toEqual(weight);
  expect(weight).toEqual(before);
  expect([...parameters.wanted]).toEqual([name]);
  expect([...parameters.trained.keys()]).toEqual(["A", "B"].map((f) => name.replace("weight", `lora_${f}.weight`)));
});

test("gradients of the factors", () => {
  const parameters = make();
  for (const { data } of parameters.trained.values()) data.set(draw(data.length));
  const ofSum = draw(out * input);
  const loss = () =>
    parameters
      .values()
      .get(name)!
      .reduce((sum, x, i) => sum + x * ofSum[i]!, 0);
  for (const [factor, gradient] of parameters.gradients(new Map([[name, ofSum]]))) {
    const { data } = parameters.trained.get(factor)!;
    for (const [i, value] of data.entries()) {
      data[i] = value + 1;
      const above = loss();
      data[i] = value - 1;
      const below = loss();
      data[i] = value;
      expect(Math.abs((above - below) / 2 - gradient[i]!), `${factor}[${i}]`).toBeLessThan(1e-5);
    }
  }
});

test.each([0, 1.5, 6, Number.NaN])("a rank of %d is refused", (bad) => {
  const frozen = new Map([[name, { shape: [out, input], data: weight }]]);
  expect(() => new LowRankParameters(frozen, { rank: bad }, 1)).toThrow(/from 1 to 5/);
});
