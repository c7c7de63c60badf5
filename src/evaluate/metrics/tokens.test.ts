import { describe, expect, it } from "vitest";
import { msMarcoTokens } from "./tokens.js";

// The right side is what spaCy's English tokenizer (3.8) gives, in lower case.
describe("msMarcoTokens", () => {
  it.each([
    ["Don't pay $1,000.50 for it.", "do n't pay $ 1,000.50 for it ."],
    ["The well-known U.S. items (e.g. Bob's)!", "the well - known u.s. items ( e.g. bob 's ) !"],
    ["It's 50%, or 5-10 km.", "it 's 50 % , or 5 - 10 km ."],
    ["a 24-hour, 5km walk at 30°C", "a 24 - hour , 5 km walk at 30 ° c"],
    ["first,second; end.Next and/or this/that", "first , second ; end . next and/or this / that"],
    ["Dr. Smith vs. J. Doe of NATO.", "dr. smith vs. j. doe of nato ."],
    ["see https://example.com/a-b?c=d, or www.example.org.", "see https://example.com/a-b?c=d , or www.example.org ."],
    ["wait... “what”? We’ll cannot", "wait ... “ what ” ? we ’ll can not"],
    ["10:30 a.m. [1] +5", "10:30 a.m. [ 1 ] +5"],
    ["", ""],
    [" \n\t", ""],
  ])("%j becomes %j", (text, tokens) => {
    expect(msMarcoTokens(text).join(" ")).toBe(tokens);
  });

  it("loses no character but whitespace", () => {
    const text = "Odd: ((a.b)) 'x' --y ..z.. 3'4\" ½-cup €5/kg =-= ..,;'s n't ’s";
    expect(msMarcoTokens(text).join("")).toBe(text.toLowerCase().replaceAll(/\s/g, ""));
  });

  it("stays fast on text made to be slow", () => {
    const start = performance.now();
    for (const unit of ["a!", "'d", "a.", "-a", "..", "$("]) {
      msMarcoTokens(unit.repeat(200_000));
      msMarcoTokens(`${unit.repeat(124)} `.repeat(100));
    }
    expect(performance.now() - start).toBeLessThan(5000);
  });
});
