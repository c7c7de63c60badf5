import { describe, expect, it } from "vitest";
import { readNq } from "./nq.js";
import { sharedData, temporaryFiles } from "./test-files.js";

const write = temporaryFiles();

const row = {
  question: "where is the oldest tide mill",
  answers: ["Nendrum", "Northern Ireland"],
  ctxs: [{ title: "Tide mill", text: "The oldest known tide mill stood at Nendrum.", hasanswer: true, isgold: true }],
};

describe("readNq", () => {
  it("reads question, answers and gold passage", async () => {
    const path = write("nq.jsonl", `${JSON.stringify(row)}\n${JSON.stringify({ ...row, question: "q" })}\n`);
    const rows = await readNq(path);
    expect(rows).toHaveLength(2);
    expect(rows[0]).toEqual({
      question: row.question,
      answers: row.answers,
      gold: { title: "Tide mill", text: "The oldest known tide mill stood at Nendrum." },
    });
    expect(await readNq(path, 1)).toEqual([rows[0]]);
  });

  it.each([
    ["row", [row]],
    ["question", { ...row, question: "" }],
    ["answers", { ...row, answers: [] }],
    ["answers[0]", { ...row, answers: [7] }],
    ["ctxs", { ...row, ctxs: {} }],
    ["ctxs[0]", { ...row, ctxs: [] }],
    ["ctxs[0].title", { ...row, ctxs: [{ text: "t" }] }],
    ["ctxs[0].text", { ...row, ctxs: [{ title: "t" }] }],
    ["ctxs[0].isgold", { ...row, ctxs: [{ title: "t", text: "t", isgold: false }] }],
  ])("names file, line and field for a bad %s", async (field, bad) => {
    const path = write("bad.jsonl", `${JSON.stringify(row)}\n${JSON.stringify(bad)}\n`);
    const error = await readNq(path).catch((e: Error) => e);
    expect((error as Error).message.startsWith(`${path}, line 2, ${field}: expected `)).toBe(true);
  });

  const shared = sharedData("nq/nq-open-oracle.jsonl");
  it.skipIf(shared.absent)(shared.label("reads the data set"), async () => {
    const rows = await readNq(shared.path);
    expect(rows).toHaveLength(2655);
    expect(new Set(rows.map((r) => r.question)).size).toBe(2655);
    expect(new Set(rows.map((r) => r.gold.text)).size).toBe(2600);
  });
});
