/** A batch of examples in parts that fit into memory; each engine says what fits. */
import { PicasoError } from "../errors.js";
import type { TrainingExample } from "./example.js";

/** Contexts of all the examples together. */
export function countContexts(examples: readonly TrainingExample[]): number {
  return examples.reduce((total, { contexts }) => total + contexts.length, 0);
}

/** Tokens of query and target that a model reads; the last one is only predicted. */
export function queryLength({ query, target }: TrainingExample): number {
  return query.length + target.length - 1;
}

/**
 * Splits a batch into parts that `fits` accepts, or of one example, which cannot be split. Examples of similar `size`
 * come together, since those of a part are padded to the longest.
 */
export function planMicroBatches(
  examples: readonly TrainingExample[],
  size: (example: TrainingExample) => number,
  fits: (part: readonly TrainingExample[]) => boolean,
): TrainingExample[][] {
  const sizes = examples.map(size);
  const bySize = Array.from(examples.keys()).sort((a, b) => sizes[b]! - sizes[a]! || a - b);
  const parts: TrainingExample[][] = [];
  for (const index of bySize) {
    const example = examples[index]!;
    const last = parts.at(-1);
    if (last && fits([...last, example])) last.push(example);
    else parts.push([example]);
  }
  return parts;
}

export function sequenceTooLong(tokens: number, limit: number): PicasoError {
  return new PicasoError("bad-argument", {
    where: "training example",
    expected: `at most ${limit} tokens in a context or in query and target together`,
    found: `${tokens}`,
    next: "Cut passages shorter, or raise groupTokens (--group-tokens) if memory allows: the training goes on.",
  });
}
