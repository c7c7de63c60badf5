/** The report of a run: every picture and figure is in it, and texts are escaped. */
import { parseHTML } from "linkedom";
import { describe, expect, test } from "vitest";
import type { QueryResult } from "../measure-query.js";
import { type EvaluationMethod, evaluationMethods } from "../methods.js";
import { summarize } from "../summary.js";
import type { Timing } from "../timing.js";
import type { WeightPicture } from "../weight-picture.js";
import { figuresOf } from "./figures.js";
import { reportPage } from "./html.js";
import { summaryRows } from "./rows.js";

const ks = [1, 2, 4];
const cells = evaluationMethods.flatMap((method): { method: EvaluationMethod; k: number }[] => {
  if (method === "none") return [{ method, k: 0 }];
  return method === "best-1" ? [{ method, k: 1 }] : ks.map((k) => ({ method, k }));
});

const results = Array.from(
  { length: 5 },
  (_, query): QueryResult => ({
    id: `q${query}`,
    targetTokens: 10 + query,
    words: 8,
    relevant: [true, false],
    relevantTotal: 1,
    references: ["tower"],
    measurements: cells.map(({ method, k }, i) => ({
      ...{ method, k, loss: 50 - k * 3 + ((i * 7 + query * 3) % 11), tokensRead: 10 * k, answer: "the tower" },
    })),
    scatter: (["concat", "caso", "picaso-r", "picaso-s"] as const).map((method, i) => ({
      method,
      losses: [20, 20 + i * (query + 1)],
    })),
  }),
);
const summary = summarize(results);
const timings = cells.map(({ method, k }, i): Timing => ({ method, k, milliseconds: 30.25 + i, queries: 5 }));
const weights = (["caso", "picaso-s"] as const).map(
  (method): WeightPicture => ({
    ...{ method, k: 2, layers: 3, heads: 4 },
    weights: [0.25, 0.75].map((weight) => new Array<number>(12).fill(weight)),
  }),
);
const figures = figuresOf({ summary, timings, weights });

function page(changed: Partial<Parameters<typeof reportPage>[0]> = {}) {
  const settings = { suite: "wikitext", pool: ["a.txt"], absent: undefined };
  const html = reportPage({ title: "picaso eval wikitext", settings, summary, timings, figures, ...changed });
  return { html, document: parseHTML(html).document };
}

describe("pictures", () => {
  const names = ["log-perplexity", "f1", "over-concat", "quality-time", "scatter", "weights-caso", "weights-picaso-s"];

  test("a run with everything has them all", () => {
    expect(figures.map(({ name }) => name)).toEqual(names);
  });

  test("a run with less has those it can have", () => {
    const plain = results.map(({ scatter: _, ...result }) => ({
      ...result,
      measurements: result.measurements
        .filter(({ method }) => method !== "concat")
        .map(({ answer: _, ...rest }) => rest),
    }));
    const fewer = figuresOf({ summary: summarize(plain), timings: [], weights: [] });
    expect(fewer.map(({ name }) => name)).toEqual(["log-perplexity"]);
  });

  test.each(names)("%s is an SVG document by itself, on white", (name) => {
    const { svg, caption } = figures.find((figure) => figure.name === name)!;
    expect(svg).toMatch(/^<svg [^>]*xmlns="http:\/\/www\.w3\.org\/2000\/svg"/);
    expect(svg).toMatch(/^<svg [^>]*width="800"/);
    expect(svg).toContain('fill="white"');
    expect(svg).not.toMatch(/NaN|undefined|<script|@import|url\(|href=/);
    expect(caption.length).toBeGreaterThan(40);
  });

  test("names every method at its curve, once", () => {
    const { document } = parseHTML(figures[0]!.svg);
    const texts = [...document.querySelectorAll("text")].map((text) => text.textContent);
    for (const method of evaluationMethods)
      expect(
        texts.filter((text) => text === method),
        method,
      ).toHaveLength(1);
  });

  test("names at the ends of curves do not cover each other", () => {
    for (const name of ["log-perplexity", "quality-time"]) {
      const { document } = parseHTML(figures.find((figure) => figure.name === name)!.svg);
      const heights = [...document.querySelectorAll("text")]
        .filter((text) => evaluationMethods.some((method) => method === text.textContent))
        .map((text) => Number(/translate\([^,]+,([^)]+)\)/.exec(text.getAttribute("transform") ?? "")?.[1]))
        .sort((a, b) => a - b);
      for (let i = 1; i < heights.length; i++) expect(heights[i]! - heights[i - 1]!).toBeGreaterThan(11);
      expect(heights[0]).toBeGreaterThan(20);
      expect(heights.at(-1)).toBeLessThan(430);
    }
  });

  test("a run whose losses are all equal can be drawn", () => {
    const flat = results.map((result) => ({
      ...result,
      measurements: result.measurements.map((measurement) => ({ ...measurement, loss: 30 })),
    }));
    for (const { svg } of figuresOf({ summary: summarize(flat), timings, weights })) expect(svg).not.toContain("NaN");
  });
});

describe("the page", () => {
  test("holds each picture with its caption, settings and every figure", () => {
    const { document } = page();
    expect(document.querySelectorAll("figure > svg")).toHaveLength(figures.length);
    expect([...document.querySelectorAll("figcaption")].map((each) => each.textContent)).toEqual(
      figures.map(({ caption }) => caption),
    );
    expect(document.querySelector("dl")!.textContent).toContain("suitewikitext");
    expect(document.querySelector("dl")!.textContent).not.toContain("absent");
    const rows = [...document.querySelector("table")!.querySelectorAll("tbody tr")].map((row) =>
      [...row.querySelectorAll("td")].map((cell) => cell.textContent!),
    );
    expect(rows).toHaveLength(cells.length);
    for (const { method, k, logPerplexity, shareOfGain } of summary.methods) {
      const row = rows.find(([name, count]) => name === method && count === String(k))!;
      expect(row[3]).toContain(logPerplexity.value.toFixed(3));
      expect(row[3]).toContain(logPerplexity.high.toFixed(3));
      if (shareOfGain) expect(row[5]).toContain(shareOfGain.value.toFixed(3));
      expect(row.at(-1)).toBe(timings.find((each) => each.method === method && each.k === k)!.milliseconds.toFixed(1));
    }
    expect(document.querySelectorAll("table")[1]!.textContent).toContain("1.000");
  });

  test("escapes what comes from outside", () => {
    const { html, document } = page({
      title: 'a <b> & "c"',
      settings: { data: "<script>alert(1)</script>&amp;.tokens", pool: ["<img src=x>"] },
    });
    expect(document.querySelectorAll("script, b, img")).toHaveLength(0);
    expect(html).not.toContain("<script");
    expect(document.querySelector("h1")!.textContent).toBe('a <b> & "c"');
    expect(document.querySelector("dl")!.textContent).toContain("<script>alert(1)</script>&amp;.tokens");
  });

  test("says where an interval has no bound", () => {
    const one = summarize(results.slice(0, 1).map((result) => ({ ...result, measurements: result.measurements })));
    const share = { value: 1, low: Number.NEGATIVE_INFINITY, high: Number.POSITIVE_INFINITY };
    const methods = one.methods.map((row) => ({ ...row, ...(row.shareOfGain && { shareOfGain: share }) }));
    expect(page({ summary: { ...one, methods } }).html).toContain("-∞ to ∞");
    expect(summaryRows({ ...one, methods }, timings).flat()).toContain("1.000 (-∞ to ∞)");
  });
});
