/** `count` ids below `vocabSize`, the same for the same seed: a linear congruential generator's upper bits. */
export function randomTokens(count: number, vocabSize: number, seed = 1): number[] {
  let state = seed >>> 0;
  return Array.from({ length: count }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * vocabSize);
  });
}
