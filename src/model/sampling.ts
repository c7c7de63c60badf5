/** Choosing the next token from logits. */
import { PicasoError } from "../errors.js";

export interface SamplingOptions {
  /** 0 takes the likeliest token. @default 0 */
  temperature?: number;
  /** Only the K likeliest tokens; 0 for all. @default 0 */
  topK?: number;
  /** Only the likeliest tokens that together reach this probability. @default 1 */
  topP?: number;
  /** Makes the choices repeatable. @default a random one */
  seed?: number;
}

/** A function from logits [vocabulary] to a token id. Throws `bad-argument` for options out of range. */
export function createSampler(options: SamplingOptions): (logits: Float32Array) => number {
  const { temperature = 0, topK = 0, topP = 1 } = options;
  check("temperature", temperature, temperature >= 0 && temperature < Number.POSITIVE_INFINITY, "a number from 0");
  check("topK", topK, Number.isInteger(topK) && topK >= 0, "a whole number from 0");
  check("topP", topP, topP > 0 && topP <= 1, "a number above 0 and up to 1");
  const seed = options.seed ?? Math.floor(Math.random() * 2 ** 32);
  check("seed", seed, Number.isSafeInteger(seed), "a whole number");
  if (temperature === 0) return likeliest;
  const random = mulberry32(seed);
  return (logits) => draw(logits, temperature, topK, topP, random());
}

/** The first index of the largest value. */
export function likeliest(logits: Float32Array): number {
  let best = 0;
  let most = logits[0]!;
  for (let i = 1; i < logits.length; i++) {
    if (logits[i]! > most) {
      best = i;
      most = logits[i]!;
    }
  }
  return best;
}

/** Loops over typed arrays: with an object for each of 50,000 tokens a choice takes longer than a token's decoding. */
function draw(logits: Float32Array, temperature: number, topK: number, topP: number, random: number): number {
  const maximum = logits[likeliest(logits)]!;
  const weights = new Float64Array(logits.length);
  for (let i = 0; i < weights.length; i++) weights[i] = Math.exp((logits[i]! - maximum) / temperature);
  if (topK === 0 && topP === 1) return pick(weights, null, random);
  let tokens = topK > 0 ? heaviest(weights, topK) : heavierThan(weights, ((1 - topP) * sum(weights)) / weights.length);
  if (topP < 1) tokens = nucleus(weights, tokens, topP * (topK > 0 ? sum(weights, tokens) : sum(weights)));
  return pick(weights, tokens, random);
}

/** One of the tokens (all by default) by weight, for a random number in [0, 1). */
function pick(weights: Float64Array, tokens: number[] | null, random: number): number {
  let left = random * sum(weights, tokens);
  const count = tokens?.length ?? weights.length;
  for (let i = 0; i < count; i++) {
    const token = tokens?.[i] ?? i;
    left -= weights[token]!;
    if (left < 0) return token;
  }
  return tokens?.at(-1) ?? count - 1;
}

/** The `most` tokens of the largest weight, in its order; of equal ones the first. */
function heaviest(weights: Float64Array, most: number): number[] {
  // The largest so far, as a heap with the least of them on top. Sorted values are one.
  const heap = weights.slice(0, most).sort();
  for (let token = heap.length; token < weights.length; token++) {
    const weight = weights[token]!;
    if (weight <= heap[0]!) continue;
    let at = 0;
    for (let child = 1; child < heap.length; child = 2 * at + 1) {
      if (child + 1 < heap.length && heap[child + 1]! < heap[child]!) child++;
      if (heap[child]! >= weight) break;
      heap[at] = heap[child]!;
      at = child;
    }
    heap[at] = weight;
  }
  return heavierThan(weights, heap[0]!).slice(0, most);
}

/**
 * The tokens of at least this weight, in its order. Where it is a share 1 - P of the mean weight, those that are left
 * out have less than the share 1 - P of all weight together: a nucleus never needs them.
 */
function heavierThan(weights: Float64Array, least: number): number[] {
  const tokens: number[] = [];
  for (let token = 0; token < weights.length; token++) if (weights[token]! >= least) tokens.push(token);
  return tokens.sort((a, b) => weights[b]! - weights[a]! || a - b);
}

/** The shortest beginning of the tokens whose weight reaches `enough`. */
function nucleus(weights: Float64Array, tokens: number[], enough: number): number[] {
  let left = enough;
  const end = tokens.findIndex((token) => {
    left -= weights[token]!;
    return left <= 0;
  });
  return end < 0 ? tokens : tokens.slice(0, end + 1);
}

function sum(weights: Float64Array, tokens: number[] | null = null): number {
  let total = 0;
  if (tokens) for (const token of tokens) total += weights[token]!;
  else for (let i = 0; i < weights.length; i++) total += weights[i]!;
  return total;
}

/** Mulberry32: 32 bits of state, uniform in [0, 1). */
function mulberry32(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let bits = Math.imul(state ^ (state >>> 15), state | 1);
    bits ^= bits + Math.imul(bits ^ (bits >>> 7), bits | 61);
    return ((bits ^ (bits >>> 14)) >>> 0) / 2 ** 32;
  };
}

function check(name: string, value: unknown, fits: boolean, expected: string): void {
  if (fits) return;
  throw new PicasoError("bad-argument", { where: name, expected, found: String(value), next: "Give another value." });
}
