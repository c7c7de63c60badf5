/** What training data are made of: contexts to compose, a query that is read, and a target that is scored. */
import { PicasoError } from "../errors.js";
import type { Random } from "../evaluate/random.js";

export interface TrainingExample {
  /** Token ids of each context, run from the zero state; may be none. */
  contexts: number[][];
  /** Token ids read from the composed state; not scored. At least one: it is what the first target follows. */
  query: number[];
  /** Token ids scored, at least one. */
  target: number[];
}

/** Examples by place, made when they are needed. */
export interface ExampleSource {
  /** Places of an epoch. */
  readonly size: number;
  /** The examples at these places, every choice drawn from `random` alone: the same again for the same state of it. */
  batch(places: readonly number[], random: Random): Promise<TrainingExample[]>;
}

/** Examples that stand as they are. */
export function fixedExamples(examples: readonly TrainingExample[]): ExampleSource {
  return { size: examples.length, batch: async (places) => places.map((place) => examples[place]!) };
}

/** Target tokens of the examples: those that their loss is the mean over. */
export function countTargets(examples: readonly TrainingExample[]): number {
  return examples.reduce((total, { target }) => total + target.length, 0);
}

/** Tokens that a model reads for the examples. The last of each target is only predicted. */
export function countTokens(examples: readonly TrainingExample[]): number {
  return examples.reduce((total, { contexts, query, target }) => {
    return contexts.reduce((sum, { length }) => sum + length, total + query.length + target.length - 1);
  }, 0);
}

/** Throws `bad-argument`, naming `where`, unless the model can be trained on the example. */
export function checkExample(example: TrainingExample, vocabSize: number, where: string): void {
  const fail = (part: string, expected: string, found: string): never => {
    throw new PicasoError("bad-argument", {
      where: `${where}, ${part}`,
      expected,
      found,
      next: "Correct the maker of this example.",
    });
  };
  const parts: [string, readonly number[]][] = [
    ...example.contexts.map((context, k): [string, number[]] => [`contexts[${k}]`, context]),
    ["query", example.query],
    ["target", example.target],
  ];
  for (const [part, tokens] of parts) {
    if (tokens.length === 0) fail(part, "at least one token", "none");
    const bad = tokens.find((id) => !Number.isInteger(id) || id < 0 || id >= vocabSize);
    if (bad !== undefined) fail(part, `token ids below ${vocabSize}`, `${bad}`);
  }
}
