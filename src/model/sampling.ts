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
  for (let i = 1; i < logits.length; i++) if (logits[i]! > logits[best]!) best = i;
  return best;
}

function draw(logits: Float32Array, temperature: number, topK: number, topP: number, random: number): number {
  const maximum = logits[likeliest(logits)]!;
  let candidates = Array.from(logits, (logit, token) => ({ token, weight: Math.exp((logit - maximum) / temperature) }));
  if (topK > 0 || topP < 1) candidates.sort((a, b) => b.weight - a.weight || a.token - b.token);
  if (topK > 0) candidates = candidates.slice(0, topK);
  if (topP < 1) candidates = nucleus(candidates, topP);
  let left = random * sum(candidates);
  for (const { token, weight } of candidates) {
    left -= weight;
    if (left < 0) return token;
  }
  return candidates[candidates.length - 1]!.token;
}

/** The shortest prefix whose weight reaches the share `topP` of all. */
function nucleus<C extends { weight: number }>(sorted: C[], topP: number): C[] {
  let left = topP * sum(sorted);
  const end = sorted.findIndex(({ weight }) => {
    left -= weight;
    return left <= 0;
  });
  return end < 0 ? sorted : sorted.slice(0, end + 1);
}

function sum(candidates: { weight: number }[]): number {
  return candidates.reduce((total, { weight }) => total + weight, 0);
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
