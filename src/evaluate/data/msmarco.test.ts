import { describe, expect, it } from "vitest";
import { parseMsMarco, readMsMarco } from "./msmarco.js";
import { sharedData, temporaryFiles } from "./test-files.js";

const write = temporaryFiles();

const row = {
  query_id: 17,
  query: "how deep is a tide mill's pond",
  query_type: "NUMERIC",
  passages: {
    is_selected: [0, 1],
    passage_text: ["Tide mills stand on the coast.", "Their ponds are about three metres deep."],
    url: ["http://example.com/mills", "http://example.com/ponds"],
  },
  answers: ["About three metres"],
  wellFormedAnswers: "[]",
};

const parsed = {
  id: "17",
  query: "how deep is a tide mill's pond",
  type: "numeric",
  passages: [
    { text: "Tide mills stand on the coast.", url: "http://example.com/mills", selected: false },
    { text: "Their ponds are about three metres deep.", url: "http://example.com/ponds", selected: true },
  ],
  answers: ["About three metres"],
};

/** The layout of the original files: a list of passages. */
const original = {
  ...row,
  passages: row.passages.passage_text.map((passage_text, i) => ({
    passage_text,
    url: row.passages.url[i],
    is_selected: row.passages.is_selected[i],
  })),
};

describe("parseMsMarco", () => {
  it("reads both layouts, and numbers as Parquet readers give them", () => {
    expect(parseMsMarco([row], "rows")).toEqual([parsed]);
    expect(parseMsMarco([original], "rows")).toEqual([parsed]);
    const big = { ...row, query_id: 17n, passages: { ...row.passages, is_selected: [0n, 1n] } };
    expect(parseMsMarco([big], "rows")).toEqual([parsed]);
  });

  it("has no answers where the annotators found none", () => {
    const answers = (list: unknown[]) => parseMsMarco([{ ...row, answers: list }], "rows")[0]!.answers;
    expect(answers([])).toEqual([]);
    expect(answers(["No Answer Present."])).toEqual([]);
    expect(answers([" ", "Three"])).toEqual(["Three"]);
  });

  it.each([
    ["row", null],
    ["query_id", { ...row, query_id: 1.5 }],
    ["query", { ...row, query: " " }],
    ["query_type", { ...row, query_type: undefined }],
    ["answers", { ...row, answers: "Three" }],
    ["answers[1]", { ...row, answers: ["Three", 3] }],
    ["passages", { ...row, passages: "text" }],
    ["passages.passage_text", { ...row, passages: { ...row.passages, passage_text: undefined } }],
    ["passages.passage_text[1]", { ...row, passages: { ...row.passages, passage_text: ["a", null] } }],
    ["passages.url", { ...row, passages: { ...row.passages, url: ["x"] } }],
    ["passages.is_selected", { ...row, passages: { ...row.passages, is_selected: [0, 1, 0] } }],
    ["passages.is_selected[0]", { ...row, passages: { ...row.passages, is_selected: [2, 1] } }],
    ["passages[0]", { ...row, passages: ["text"] }],
    ["passages[0].is_selected", { ...original, passages: [{ passage_text: "a", url: "" }] }],
  ])("names file, row and field for a bad %s", (field, bad) => {
    let message = "";
    try {
      parseMsMarco([row, bad], "rows.parquet");
    } catch (error) {
      message = (error as Error).message;
    }
    expect(message.startsWith(`rows.parquet, row 2, ${field}: expected `)).toBe(true);
  });
});

describe("readMsMarco", () => {
  it("reads a JSON list and JSON Lines, whatever the name", async () => {
    expect(await readMsMarco(write("list.json", JSON.stringify([row, original], null, 2)))).toEqual([parsed, parsed]);
    const lines = write("lines.json", `${JSON.stringify(original)}\n${JSON.stringify(row)}\n`);
    expect(await readMsMarco(lines)).toEqual([parsed, parsed]);
    expect(await readMsMarco(lines, 1)).toEqual([parsed]);
    expect(await readMsMarco(write("limit.json", JSON.stringify([row, "bad"])), 1)).toEqual([parsed]);
  });

  it("names file, line and field, also for a file of columns instead of rows", async () => {
    const path = write("bad.jsonl", `${JSON.stringify(row)}\n${JSON.stringify({ ...row, query: 5 })}\n`);
    await expect(readMsMarco(path)).rejects.toThrow(/bad\.jsonl, line 2, query: expected a string, found 5/);
    const columns = write("columns.json", JSON.stringify({ query: { 0: "a" }, answers: { 0: ["b"] } }));
    await expect(readMsMarco(columns)).rejects.toThrow(/columns\.json, line 1, answers: expected a list/);
    await expect(readMsMarco(write("text.json", "query\tpassage\n"))).rejects.toMatchObject({ code: "bad-file" });
  });

  const shared = sharedData("msmarco/ms_marco_200_full_rows.json");
  it.skipIf(shared.absent)(shared.label("reads 200 rows of the data set"), async () => {
    const rows = await readMsMarco(shared.path);
    expect(rows).toHaveLength(200);
    expect(new Set(rows.map((r) => r.id)).size).toBe(200);
    expect(rows.filter((r) => r.answers.length === 0)).toHaveLength(7);
    const counts = rows.map((r) => r.passages.length);
    expect([Math.min(...counts), Math.max(...counts)]).toEqual([3, 10]);
    expect(rows.filter((r) => r.passages.some((p) => p.selected))).toHaveLength(189);
  });
});
