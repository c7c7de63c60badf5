/**
 * A needle in a haystack: a made-up fact, planted in a passage of other text, is asked for with distractors beside it.
 * The planted passage ranks first, so that k contexts are it and k - 1 distractors.
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

/** Queries whose contexts stand in a fixed random order; a smaller k takes the planted passage and k - 1 others. */
export async function needleQueries(model: LanguageModel, options: NeedleOptions): Promise<EvaluationQuery[]> {
  const haystack = (await readWikiText(options.path)).flatMap(({ paragraphs }) =>
    splitPassages(paragraphs.map(({ text }) => text).join("\n\n"), {
      maxTokens: options.passageTokens,
      overlap: 0,
      tokenizer: model.tokenizer,
    }),
  );
  return Array.from({ length: options.queries }, (_, number) => {
    const random = Random.of(options.seed, number);
    const place = places[random.below(places.length)]!;
    const thing = things[random.below(things.length)]!;
    const year = String(1200 + random.below(800));
    const [planted, ...others] = random.sample(haystack.length, options.contexts).map((i) => haystack[i]!.text);
    const fact = `The ${thing} of ${place} was built in ${year}.`;
    const cut = planted!.indexOf(". ") + 2;
    const text = cut > 1 ? `${planted!.slice(0, cut)}${fact} ${planted!.slice(cut)}` : `${fact} ${planted}`;
    return questionQuery(model, {
      id: `needle ${number}`,
      question: `When was the ${thing} of ${place} built?`,
      answers: [year],
      // The planted passage comes first, so that every k has it; orders of composition put it last.
      contexts: [text, ...others].map((each, i) => passageContext(model, `needle ${number}/${i}`, each)),
      relevant: [`needle ${number}/0`],
    });
  });
}
