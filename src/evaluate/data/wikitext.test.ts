import { describe, expect, it } from "vitest";
import { PicasoError } from "../../errors.js";
import { sharedData, temporaryFiles } from "./test-files.js";
import { parseWikiText, readWikiText } from "./wikitext.js";

const write = temporaryFiles();

const file = ` 
 = Tide mill = 
 
 A tide mill is a <unk> driven by the tide . 
 Few are left . 
 
 = = Working = = 
 
 The pond fills twice a day ; its depth is given by d 
 = 3 metres and t = 
 6 hours . 
 
 = = = Gates = = = 
 
 They close by themselves . 
 
 = = Places = = 
 
 Some stand in Essex , some in Brittany . 
 
 
 = <unk> = 
 
 A word . 
`;

describe("parseWikiText", () => {
  it("finds articles, sections and paragraphs", () => {
    const articles = parseWikiText(file, "file");
    expect(articles.map(({ title, line, words }) => [title, line, words])).toEqual([
      ["Tide mill", 2, 72],
      ["<unk>", 22, 6],
    ]);
    expect(articles[0]!.paragraphs).toEqual([
      { text: "A tide mill is a <unk> driven by the tide .", sections: [] },
      { text: "Few are left .", sections: [] },
      { text: "The pond fills twice a day ; its depth is given by d", sections: ["Working"] },
      { text: "= 3 metres and t =", sections: ["Working"] },
      { text: "6 hours .", sections: ["Working"] },
      { text: "They close by themselves .", sections: ["Working", "Gates"] },
      { text: "Some stand in Essex , some in Brittany .", sections: ["Places"] },
    ]);
    expect(articles[1]!.text).toBe("= <unk> = \n \n A word .");
  });

  it("leaves no word out", () => {
    const text = parseWikiText(file, "file").flatMap((article) => article.text.split(/\s+/));
    expect(text).toEqual(file.trim().split(/\s+/));
  });

  it("takes every line with the look of a heading on request", () => {
    const articles = parseWikiText(file, "file", { headings: "any" });
    expect(articles.map((article) => article.title)).toEqual(["Tide mill", "3 metres and t", "<unk>"]);
    expect(articles[1]!.paragraphs[0]).toEqual({ text: "6 hours .", sections: [] });
  });

  it("takes lines that only begin or end with signs, or with unequal signs, for text", () => {
    const odd = ["= National record", "N / A =", "= = x =", "= x = =", "= =", "= = =", "=", "=x="];
    const articles = parseWikiText(`= A =\n\n${odd.join("\n\n")}\n`, "file", { headings: "any" });
    expect(articles).toHaveLength(1);
    expect(articles[0]!.paragraphs.map((paragraph) => paragraph.text)).toEqual(odd);
  });

  it("reads other line ends, an equals sign within a title, and a heading in the last line", () => {
    const articles = parseWikiText(" = E = mc2 = \r\n\r\n text \r\n\r\n = Last = ", "file");
    expect(articles.map((article) => article.title)).toEqual(["E = mc2", "Last"]);
    expect(articles[0]!.text).toBe("= E = mc2 = \n\n text");
  });

  it("names file and line of text before the first heading, and a file without any", async () => {
    expect(() => parseWikiText("\n\nplain text\n", "plain.txt")).toThrow(/plain\.txt, line 3.*article heading/);
    expect(() => parseWikiText("\n = = Section = = \n\n", "x")).toThrow(PicasoError);
    await expect(readWikiText(write("empty.tokens", "\n \n"))).rejects.toThrow(/empty\.tokens.*found no text/);
  });
});

describe("readWikiText on WikiText-2", () => {
  for (const [split, count, words] of [
    ["train", 600, 2_051_910],
    ["valid", 60, 213_886],
    ["test", 60, 241_211],
  ] as const) {
    const shared = sharedData(`wikitext-2/wiki.${split}.tokens`);
    it.skipIf(shared.absent)(shared.label(`finds the articles and words of ${split}`), async () => {
      const articles = await readWikiText(shared.path);
      expect(articles).toHaveLength(count);
      expect(articles.reduce((sum, article) => sum + article.words, 0)).toBe(words);
    });
  }

  const test = sharedData("wikitext-2/wiki.test.tokens");
  it.skipIf(test.absent)(test.label("finds the 61 texts that the bundled model was measured on"), async () => {
    // All 62 lines with the look of a heading, less the one text of 26 words that a formula's continuation makes.
    const pieces = await readWikiText(test.path, { headings: "any" });
    expect(pieces).toHaveLength(62);
    const measured = pieces.filter((piece) => piece.words > 26);
    expect(measured).toHaveLength(61);
    expect(measured.reduce((sum, piece) => sum + piece.words, 0)).toBe(241_185);
  });
});
