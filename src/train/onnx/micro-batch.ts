/**
 * A micro-batch as the graphs are fed it: contexts and queries as two sides of padded sequences, the places of contexts
 * in their examples, and the positions to score.
 *
 * Contexts of an example are composed inside a layer's graph, so an example is never split. The contexts of all examples
 * stand one after the other, each padded to the longest of the micro-batch.
 */
import type { Mamba2Config } from "../../model/config.js";
import type { TrainingExample } from "../example.js";
import type { EngineOptions } from "../gradient-engine.js";
import { countContexts, planMicroBatches, queryLength, sequenceTooLong } from "../micro-batches.js";
import { compositionFeeds } from "./composition.js";
import { type Feeds, toFeeds } from "./feeds.js";
import type { Positions } from "./head.js";
import type { BatchKind } from "./layer-graphs.js";
import { noPadding, type PaddedSequences, type Padding, padSequences, sequenceFeeds } from "./sequences.js";

export interface MicroBatch {
  /** The queries first, the contexts where there are any. */
  sides: PaddedSequences[];
  variant: BatchKind;
  /** What every layer's graphs are fed alike. */
  feeds: Feeds;
  positions: Positions;
}

/** Parts of a batch within the limits. Throws `bad-argument` for a sequence of more than `groupTokens` tokens. */
export function onnxMicroBatches(
  examples: readonly TrainingExample[],
  { groupTokens, groupContexts }: Pick<EngineOptions, "groupTokens" | "groupContexts">,
  padding = noPadding,
): TrainingExample[][] {
  for (const example of examples) {
    const longest = Math.max(queryLength(example), longestContext(example));
    if (longest > groupTokens) throw sequenceTooLong(longest, groupTokens);
  }
  return planMicroBatches(
    examples,
    longestContext,
    (part) => countContexts(part) <= groupContexts && paddedTokens(part, padding) <= groupTokens,
  );
}

function longestContext({ contexts }: TrainingExample): number {
  return Math.max(0, ...contexts.map(({ length }) => length));
}

/** Tokens that go through a layer together, padding included. */
function paddedTokens(part: readonly TrainingExample[], { count, length }: Padding): number {
  const side = (sequences: number, longest: number) => (sequences > 0 ? count(sequences) * length(longest) : 0);
  const ofContexts = side(countContexts(part), Math.max(...part.map(longestContext)));
  return ofContexts + side(part.length, Math.max(...part.map(queryLength)));
}

export function placeMicroBatch(
  examples: readonly TrainingExample[],
  { method }: Pick<EngineOptions, "method">,
  config: Mamba2Config,
  padding = noPadding,
): MicroBatch {
  // The last target is only predicted, never read.
  const query = padSequences(
    "query",
    examples.map((example) => [...example.query, ...example.target.slice(0, -1)]),
    padding,
  );
  const sides = [query];
  const feeds = sequenceFeeds(query, config);
  const variant: BatchKind = { contexts: "none", queries: query.chunks === 1 ? "one" : "many" };
  if (countContexts(examples) > 0) {
    const context = padSequences(
      "context",
      examples.flatMap(({ contexts }) => contexts),
      padding,
    );
    sides.push(context);
    variant.contexts = context.chunks === 1 ? "one" : "many";
    const counts = query.sequences.map((_, e) => examples[e]?.contexts.length ?? 0);
    const slots = padding.count(Math.max(...counts));
    feeds.push(...sequenceFeeds(context, config), ...compositionFeeds(counts, slots, method, context.sequences.length));
  }
  return { sides, variant, feeds: toFeeds(feeds), positions: positionsOf(examples, query.length) };
}

/** Rows of the queries' residuals after which a target comes. */
function positionsOf(examples: readonly TrainingExample[], length: number): Positions {
  const rows = examples.flatMap(({ query, target }, e) => target.map((_, i) => e * length + query.length - 1 + i));
  return { rows, targets: examples.flatMap(({ target }) => target) };
}
