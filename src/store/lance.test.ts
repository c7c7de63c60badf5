import { describe, expect, it } from "vitest";
import { PicasoError } from "../errors.js";
import { committing, reading, shortMessage, sqlList, sqlString } from "./lance.js";

const conflict = new Error(
  "lance error: Retryable commit conflict for version 7, /src/io/commit.rs:1\n  Caused by: more",
);

describe("committing", () => {
  it("tries again while another process is in the way", async () => {
    let attempts = 0;
    const result = await committing("catalog", async () => {
      if (++attempts < 4) throw conflict;
      return "done";
    });
    expect([result, attempts]).toEqual(["done", 4]);
  });

  it("gives up after some time", async () => {
    let attempts = 0;
    const change = committing("/s/catalog", async () => {
      attempts++;
      throw conflict;
    });
    await expect(change).rejects.toMatchObject({ code: "conflict", details: { where: "/s/catalog", cause: conflict } });
    expect(attempts).toBe(12);
  });

  it("reports other errors at once", async () => {
    let attempts = 0;
    const change = (error: Error) => () => {
      attempts++;
      return Promise.reject(error);
    };
    await expect(committing("c", change(new Error("No space left, /a/b.rs")))).rejects.toThrow(/found No space left\./);
    const own = new PicasoError("aborted", { where: "w", expected: "e", found: "concurrent", next: "n" });
    await expect(committing("c", change(own))).rejects.toBe(own);
    expect(attempts).toBe(2);
  });
});

describe("reading", () => {
  it("turns errors into the project's own", async () => {
    expect(await reading("c", Promise.resolve(1))).toBe(1);
    await expect(reading("c", Promise.reject(new Error("lance error: x")))).rejects.toMatchObject({
      code: "failed",
      details: { where: "c", found: "lance error: x" },
    });
  });
});

describe("shortMessage", () => {
  it("leaves out places in foreign source and repetitions", () => {
    expect(shortMessage(conflict)).toBe("lance error: Retryable commit conflict for version 7");
    expect(shortMessage("x".repeat(1000))).toHaveLength(300);
  });
});

describe("SQL literals", () => {
  it("double their quotes", () => {
    expect(sqlString("it's 'x'")).toBe("'it''s ''x'''");
    expect(sqlList(["a", "b'"])).toBe("('a', 'b''')");
  });
});
