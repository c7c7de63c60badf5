/** From a text's token vectors to its embedding: the pooling of Sentence-Transformers' module of that name. */

/** Modes under the names of Sentence-Transformers 6. */
export const poolingModes = ["cls", "max", "mean", "mean_sqrt_len_tokens", "weightedmean", "lasttoken"] as const;

export type PoolingMode = (typeof poolingModes)[number];

/** `vectors` are those of one text's tokens, [tokens, width], without padding, at least one. */
export function pool(vectors: Float32Array, width: number, mode: PoolingMode): Float32Array {
  const tokens = vectors.length / width;
  const vector = (token: number) => vectors.subarray(token * width, (token + 1) * width);
  switch (mode) {
    case "cls":
      return vector(0).slice();
    case "lasttoken":
      return vector(tokens - 1).slice();
    case "max":
      return vector(0).map((_, i) => {
        let most = Number.NEGATIVE_INFINITY;
        for (let token = 0; token < tokens; token++) most = Math.max(most, vectors[token * width + i]!);
        return most;
      });
    case "mean":
      return weightedSum(vectors, width, () => 1 / tokens);
    case "mean_sqrt_len_tokens":
      return weightedSum(vectors, width, () => 1 / Math.sqrt(tokens));
    case "weightedmean":
      // Later tokens of a causal model have seen more of the text.
      return weightedSum(vectors, width, (token) => (2 * (token + 1)) / (tokens * (tokens + 1)));
  }
}

/** Scales a vector to length 1, in place; the zero vector stays. */
export function normalize(vector: Float32Array): Float32Array {
  const length = Math.sqrt(vector.reduce((sum, value) => sum + value * value, 0));
  if (length > 0) for (let i = 0; i < vector.length; i++) vector[i]! /= length;
  return vector;
}

function weightedSum(vectors: Float32Array, width: number, weight: (token: number) => number): Float32Array {
  const sums = new Float64Array(width);
  for (let token = 0; token < vectors.length / width; token++) {
    const factor = weight(token);
    for (let i = 0; i < width; i++) sums[i]! += factor * vectors[token * width + i]!;
  }
  return Float32Array.from(sums);
}
