import { readRleBitPackedHybrid } from "hyparquet/src/encoding.js";
import { expect, test } from "vitest";
import { PicasoError } from "../../errors.js";
import { Random } from "../random.js";
import { summarizeRuns } from "./parquet-runs.js";

function varint(value: number): number[] {
  return value < 128 ? [value] : [128 + (value % 128), ...varint(Math.floor(value / 128))];
}

/** Runs of both kinds, at random. */
function randomRuns(random: Random, width: number, runs: number): { bytes: Uint8Array; values: number[] } {
  const bytes: number[] = [];
  const values: number[] = [];
  const draw = () => random.below(2 ** Math.min(width, 30));
  for (let i = 0; i < runs; i++) {
    if (random.below(2) === 0) {
      const [length, value] = [1 + random.below(300), draw()];
      bytes.push(...varint(length * 2));
      for (let shift = 0; shift < width; shift += 8) bytes.push(Math.floor(value / 2 ** shift) % 256);
      for (let j = 0; j < length; j++) values.push(value);
    } else {
      const groups = 1 + random.below(4);
      bytes.push(...varint(groups * 2 + 1));
      let bits = "";
      for (let j = 0; j < groups * 8; j++) {
        const value = draw();
        values.push(value);
        bits += [...value.toString(2).padStart(width, "0")].reverse().join("");
      }
      for (let j = 0; j < bits.length; j += 8) {
        bytes.push(Number.parseInt([...bits.slice(j, j + 8)].reverse().join(""), 2));
      }
    }
  }
  return { bytes: Uint8Array.from(bytes), values };
}

test.each([1, 2, 3, 5, 7, 8, 9, 12, 17, 20])("width %i: as written, and as hyparquet decodes it", (width) => {
  const random = Random.of(7, width);
  for (let trial = 0; trial < 20; trial++) {
    const { bytes, values } = randomRuns(random, width, 6);
    const counted = values[random.below(values.length)]!;
    expect(summarizeRuns(bytes, [0, bytes.length], width, values.length, counted, "test")).toEqual({
      greatest: values.reduce((most, value) => Math.max(most, value), -1),
      matches: values.filter((value) => value === counted).length,
    });
    const decoded = new Array<number>(values.length);
    readRleBitPackedHybrid({ view: new DataView(bytes.buffer), offset: 0 }, width, decoded, bytes.length);
    expect(decoded).toEqual(values);
  }
});

test("a packed run may be filled up beyond the last value", () => {
  const bytes = Uint8Array.of(3, 0b1111_0101);
  expect(summarizeRuns(bytes, [0, 2], 1, 3, 1, "test")).toEqual({ greatest: 1, matches: 2 });
});

test("32 bits", () => {
  const bytes = Uint8Array.of(2, 255, 255, 255, 255, 3, ...new Array(32).fill(254));
  const { greatest, matches } = summarizeRuns(bytes, [0, bytes.length], 32, 9, 0xfefefefe, "test");
  expect([greatest, matches]).toEqual([0xffffffff, 8]);
});

test.each([
  ["a run of 2^31 - 1", [...varint(2 ** 32 - 2), 1], 1, 5],
  ["a run one too long", [12, 1], 1, 5],
  ["2^31 packed values without bytes", [255, 255, 255, 255, 15], 1, 5],
  ["2^31 packed values of no bits", [255, 255, 255, 255, 15], 0, 5],
  ["too few values", [4, 1], 1, 5],
  ["a run without its value", [10], 1, 5],
  ["a number that does not end", [255, 255, 255, 255, 255, 255, 1], 1, 5],
  ["no bytes", [], 1, 1],
  ["values of 33 bits", [2, 1, 1, 1, 1, 1], 33, 1],
])("%s: refused", (_name, bytes, width, count) => {
  const run = () => summarizeRuns(Uint8Array.from(bytes), [0, bytes.length], width, count, 0, "test");
  expect(run).toThrow(PicasoError);
});

test("no values need no bytes", () => {
  expect(summarizeRuns(new Uint8Array(0), [0, 0], 1, 0, 0, "test")).toEqual({ greatest: -1, matches: 0 });
});
