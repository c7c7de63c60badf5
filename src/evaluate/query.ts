/** What every suite turns its data into: queries with ranked contexts and a target to be predicted. */

export interface EvaluationContext {
  /** Unique in the run: contexts with one id have one text. */
  id: string;
  /** The passage with its end, without a beginning of sequence. */
  tokens: readonly number[];
}

export interface EvaluationQuery {
  id: string;
  /** Read before the target, without a beginning of sequence. One token or more. */
  prompt: readonly number[];
  /** Scored token by token. */
  target: readonly number[];
  /** Words of the target, for perplexity per word. */
  words: number;
  /** Best first. */
  contexts: readonly EvaluationContext[];
  /** Answers that count as right, where answers are generated. */
  references?: readonly string[];
  /** Ids of the contexts that hold the answer, for recall. */
  relevant?: readonly string[];
}
