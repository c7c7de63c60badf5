/**
 * Batches just large enough for the engine to reach its full rate. An evaluation starts from a state of its own for
 * nearly every sequence: a larger batch would copy those states together, pad, and be no faster.
 */

/** Tokens of a batch. On one thread a WikiText query takes 9% more processor time with 96, 8% more with 1,024. */
const enoughTokens = 512;

/** What a run costs beside its tokens, in tokens: the weights come from memory once. */
const tokensOfRun = 24;

/** Indices of the sequences, those of similar length together, in the batches that cost least with padding and runs. */
export function smallBatches(sequences: readonly { tokens: readonly number[] }[]): number[][] {
  const length = (index: number) => sequences[index]!.tokens.length;
  const order = Array.from(sequences.keys()).sort((a, b) => length(a) - length(b) || a - b);
  // The best batches of the first `end` of them: what they cost, and where the last one begins.
  const best = [{ cost: 0, begin: 0 }];
  for (let end = 1; end <= order.length; end++) {
    const longest = length(order[end - 1]!);
    let choice = { cost: Number.POSITIVE_INFINITY, begin: end - 1 };
    for (let begin = end - 1; begin >= 0; begin--) {
      const padded = longest * (end - begin);
      if (padded > enoughTokens && begin < end - 1) break;
      const cost = best[begin]!.cost + padded + tokensOfRun;
      if (cost < choice.cost) choice = { cost, begin };
    }
    best.push(choice);
  }
  const batches: number[][] = [];
  for (let end = order.length; end > 0; end = best[end]!.begin) batches.unshift(order.slice(best[end]!.begin, end));
  return batches;
}
