import { expect, test } from "vitest";
import { describeJson } from "./json.js";

test.each<[value: unknown, text: string]>([
  [undefined, "nothing"],
  [null, "null"],
  [1.5, "1.5"],
  ["a\nb", '"a\\nb"'],
  [[], "[]"],
  [[0, "x", null, true], '[0, "x", null, true]'],
  [[0, { __float__: "-Infinity" }], "[0, -Infinity]"],
  [[[1]], "a list of 1"],
  [new Array(9).fill(0), "a list of 9"],
  [{}, "an object"],
  [{ __float__: "NaN" }, "NaN"],
  [{ __float__: [1] }, "an object"],
])("%j is described as %s", (value, text) => {
  expect(describeJson(value)).toBe(text);
});

test("a description is never longer than a line", () => {
  let deep: unknown = [];
  for (let i = 0; i < 100_000; i++) deep = [deep, { deep }];
  const long = "x".repeat(10_000);
  for (const value of [deep, { deep }, [{ deep }], long, [long, long], { __float__: long }, [{ __float__: long }]]) {
    expect(describeJson(value).length).toBeLessThanOrEqual(80);
  }
});
