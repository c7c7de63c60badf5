/**
 * A needle in a haystack: a made-up fact, planted in a passage of other text, is asked for with other passages beside it.
 * The planted passage ranks first, so that k contexts are it and k - 1 others.
 */
import type { LanguageModel } from "../../model/language-model.js";
import { splitPassages } from "../../retrieve/passages.js";
import { readWikiText } from "../data/wikitext.js";
import type { EvaluationQuery } from "../query.js";
import { Random } from "../random.js";
import { passageContext, questionQuery } from "./question.js";

export interface NeedleOptions {
  /** WikiText token file whose passages are the haystack. */
  path: string;
  passageTokens: number;
  queries: number;
  /** Contexts of each query, the planted one among them. */
  contexts: number;
  /** How many of the others state another fact of the same kind; they rank right behind the planted one. @default 0 */
  distractors?: number;
  seed: number;
}

const places = ["Orla", "Brevik", "Tansley", "Kirova", "Maldon", "Ostrava", "Penrith", "Quillan", "Ravello", "Sorano"];
const things = [
  "tower",
  "bridge",
  "library",
  "harbour",
  "observatory",
  "theatre",
  "mill",
  "fountain",
  "museum",
  "gate",
];

interface Fact {
  place: string;
  thing: string;
  year: string;
}

/** Queries whose contexts stand in a fixed random order; a smaller k takes the planted passage and k - 1 others. */
export async function needleQueries(model: LanguageModel, options: NeedleOptions): Promise<EvaluationQuery[]> {
  const { contexts, distractors = 0 } = options;
  const haystack = (await readWikiText(options.path)).flatMap(({ paragraphs }) =>
    splitPassages(paragraphs.map(({ text }) => text).join("\n\n"), {
      maxTokens: options.passageTokens,
      overlap: 0,
      tokenizer: model.tokenizer,
    }),
  );
  return Array.from({ length: options.queries }, (_, number) => {
    const random = Random.of(options.seed, number);
    const fact = drawFact(random);
    const passages = random.sample(haystack.length, contexts).map((i) => haystack[i]!.text);
    const rivals = passages.slice(1, 1 + distractors).map(() => drawRival(random, fact));
    const texts = passages.map((text, i) => {
      const stated = i === 0 ? fact : rivals[i - 1];
      return stated ? plant(text, stated) : text;
    });
    return questionQuery(model, {
      id: `needle ${number}`,
      question: `When was the ${fact.thing} of ${fact.place} built?`,
      answers: [fact.year],
      // The planted passage comes first, so that every k has it; orders of composition put it last.
      contexts: texts.map((text, i) => passageContext(model, `needle ${number}/${i}`, text)),
      relevant: [`needle ${number}/0`],
    });
  });
}

function drawFact(random: Random): Fact {
  const place = places[random.below(places.length)]!;
  const thing = things[random.below(things.length)]!;
  return { place, thing, year: String(1200 + random.below(800)) };
}

/** Another thing of the same place or the same thing of another place, from another year. Two of them may be of one. */
function drawRival(random: Random, fact: Fact): Fact {
  for (;;) {
    const other = drawFact(random);
    const rival = random.below(2) === 0 ? { ...other, place: fact.place } : { ...other, thing: fact.thing };
    const isSame = rival.place === fact.place && rival.thing === fact.thing;
    if (!isSame && rival.year !== fact.year) return rival;
  }
}

/** The fact as a sentence behind the first one, or in front where no sentence ends. */
function plant(text: string, { thing, place, year }: Fact): string {
  const sentence = `The ${thing} of ${place} was built in ${year}.`;
  const cut = text.indexOf(". ") + 2;
  return cut > 1 ? `${text.slice(0, cut)}${sentence} ${text.slice(cut)}` : `${sentence} ${text}`;
}
