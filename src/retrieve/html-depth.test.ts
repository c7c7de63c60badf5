import { describe, expect, it } from "vitest";
import { limitDepth } from "./html-depth.js";

/** The least limit that leaves a text as it is. */
function depth(html: string): number {
  let limit = 0;
  while (limitDepth(html, limit) !== html) limit++;
  return limit;
}

describe("limitDepth", () => {
  it("leaves out what is deeper, with its end tags", () => {
    const html = '<div a="1"><b>x</b><i>y<u/>z</i></div><b>v</b></i>w';
    expect(limitDepth(html, 2)).toBe('<div a="1"><b>x</b><i>yz</i></div><b>v</b></i>w');
    expect(limitDepth(html, 1)).toBe('<div a="1">xyz</div><b>v</b></i>w');
    expect(limitDepth(html, 0)).toBe("xyzv</i>w");
    expect(limitDepth(html, 3)).toBe(html);
    expect(limitDepth("<div><div><div>x</div>y</div>z</div>", 1)).toBe("<div>xyz</div>");
  });

  it("counts elements that are open at the same time", () => {
    expect(depth("")).toBe(0);
    expect(depth("text < 5 <3 </> <!doctype html>")).toBe(0);
    expect(depth("<div><b>x</b><i>y</i></div><div></div>")).toBe(2);
    expect(depth("<DIV class='a>b'><SPAN\n></Span></div>")).toBe(2);
    expect(depth("<div".repeat(100))).toBe(0);
  });

  it("does not count what ends by itself", () => {
    expect(depth("<p>a<p>b<br><img src=x>".repeat(100))).toBe(1);
    expect(depth(`<ul>${"<li>a<li>b</ul><ul>".repeat(100)}`)).toBe(2);
    expect(depth(`<table>${"<tr><td>a<th>b<tbody>".repeat(100)}</table>`)).toBe(4);
    expect(depth("<p>a<h1>b</h1><div>c</div><p>d<ul></ul><dl><dt>e<dd>f<dt>g</dl>".repeat(100))).toBe(2);
    expect(depth("<li><b>a<li>b".repeat(3))).toBe(7);
    expect(depth(`<svg>${"<path/><g/>".repeat(100)}</svg>`)).toBe(1);
    expect(depth("<div/>".repeat(7))).toBe(7);
    expect(depth("<td><font>x</td><div></b></div>".repeat(3))).toBe(2);
    expect(depth("<div><b><i>x</div>".repeat(9))).toBe(3);
  });

  it("does not look into comments, scripts and styles", () => {
    expect(depth("<!-- <div><div> --><b>x</b>")).toBe(1);
    expect(depth("<script>'<b><b><b>'</SCRIPT><style><i><i></style><b></b>")).toBe(1);
    expect(depth(`${"<b>".repeat(3)}<!-- no end ${"<b>".repeat(9)}`)).toBe(3);
  });

  it("takes time in proportion to the length", () => {
    const start = performance.now();
    for (const part of ["<b></b>", "</b>", "<", "<!--", "<!---->", "<script>", "<svg/>", "<p>", "<b", "<b>"]) {
      limitDepth(part.repeat(300_000), 250);
    }
    expect(performance.now() - start).toBeLessThan(5000);
  });
});
