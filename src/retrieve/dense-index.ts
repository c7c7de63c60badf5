/** Exact search by cosine similarity over embeddings in memory. */
import { PicasoError } from "../errors.js";
import { normalize } from "./pooling.js";
import type { RankedText } from "./text-index.js";

export class DenseIndex {
  /** [texts, width], rows of length 1 */
  private readonly matrix: Float32Array;
  private readonly width: number;
  private readonly count: number;

  /** `embeddings` are all of one width. */
  constructor(embeddings: readonly Float32Array[]) {
    this.count = embeddings.length;
    this.width = embeddings[0]?.length ?? 0;
    this.matrix = new Float32Array(embeddings.length * this.width);
    for (const [row, embedding] of embeddings.entries()) {
      this.check(embedding);
      this.matrix.set(normalize(embedding.slice()), row * this.width);
    }
  }

  /** The `limit` most similar texts, best first; equal ones in the list's order. The zero vector is similar to none: 0. */
  search(query: Float32Array, limit: number): RankedText[] {
    const { count } = this;
    if (count === 0 || limit < 1) return [];
    this.check(query);
    const unit = normalize(query.slice());
    const scores = new Float64Array(count);
    for (let row = 0; row < count; row++) scores[row] = this.similarity(row, unit);
    // Only what reaches the score of the last place is sorted with its index.
    const lowest = scores.slice().sort()[Math.max(0, count - limit)]!;
    const hits: RankedText[] = [];
    for (let index = 0; index < count; index++) {
      if (scores[index]! >= lowest) hits.push({ index, score: scores[index]! });
    }
    return hits.sort((a, b) => b.score - a.score || a.index - b.index).slice(0, limit);
  }

  private similarity(row: number, unit: Float32Array): number {
    const { matrix, width } = this;
    let sum = 0;
    for (let i = 0, at = row * width; i < width; i++, at++) sum += matrix[at]! * unit[i]!;
    return sum;
  }

  private check(embedding: Float32Array): void {
    if (embedding.length === this.width) return;
    throw new PicasoError("mismatch", {
      where: "embedding",
      expected: `${this.width} numbers, as in the first of the index`,
      found: `${embedding.length}`,
      next: "Embed texts and queries with the same model.",
    });
  }
}
