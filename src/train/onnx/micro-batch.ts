/**
 * A micro-batch as the graphs are fed it: contexts and queries as two sides of padded sequences, the places of contexts
 * in their examples, and the positions to score.
 *
 * Contexts of an example are composed inside a layer's graph, so an example is never split: its contexts, each padded
 * to the longest of the micro-batch, go through a layer together.
 */
import type { Mamba2Config } from "../../model/config.js";
import type { TrainingExample } from "../example.js";
import type { EngineOptions } from "../gradient-engine.js";
import { countContexts, planMicroBatches, queryLength, sequenceTooLong } from "../micro-batches.js";
import { compositionFeeds } from "./composition.js";
import { type Feeds, toFeeds } from "./feeds.js";
import type { Positions } from "./head.js";
import type { BatchKind } from "./layer-graphs.js";
import { cpuChunk, type PaddedSequences, padSequences, sequenceFeeds } from "./sequences.js";

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
): TrainingExample[][] {
  for (const example of examples) {
    const longest = Math.max(queryLength(example), longestContext(example));
    if (longest > groupTokens) throw sequenceTooLong(longest, groupTokens);
  }
  return planMicroBatches(
    examples,
    longestContext,
    (part) => countContexts(part) <= groupContexts && paddedTokens(part) <= groupTokens,
  );
}

function longestContext({ contexts }: TrainingExample): number {
  return Math.max(0, ...contexts.map(({ length }) => length));
}

/** Tokens that go through a layer together, padding included. */
function paddedTokens(part: readonly TrainingExample[]): number {
  const slots = slotsOf(part);
  return part.length * (slots * Math.max(...part.map(longestContext)) + Math.max(...part.map(queryLength)));
}

/** Places for contexts that every example has. */
function slotsOf(part: readonly TrainingExample[]): number {
  return Math.max(...part.map(({ contexts }) => contexts.length));
}

/** `maxChunk` bounds the tokens of the scan's chunks. */
export function placeMicroBatch(
  examples: readonly TrainingExample[],
  { method }: Pick<EngineOptions, "method">,
  config: Mamba2Config,
  maxChunk = cpuChunk,
): MicroBatch {
  // The last target is only predicted, never read.
  const query = padSequences(
    "query",
    examples.map((example) => [...example.query, ...example.target.slice(0, -1)]),
    maxChunk,
  );
  const sides = [query];
  const feeds = sequenceFeeds(query, config);
  const variant: BatchKind = { contexts: "none", queries: query.chunks === 1 ? "one" : "many" };
  const slots = slotsOf(examples);
  if (slots > 0) {
    const empty = (count: number) => Array.from({ length: count }, () => []);
    const context = padSequences(
      "context",
      examples.flatMap(({ contexts }) => [...contexts, ...empty(slots - contexts.length)]),
      maxChunk,
    );
    sides.push(context);
    variant.contexts = context.chunks === 1 ? "one" : "many";
    const counts = examples.map(({ contexts }) => contexts.length);
    feeds.push(...sequenceFeeds(context, config), ...compositionFeeds(counts, slots, method));
  }
  return { sides, variant, feeds: toFeeds(feeds), positions: positionsOf(examples, query.length) };
}

/** Rows of the queries' residuals after which a target comes. */
function positionsOf(examples: readonly TrainingExample[], length: number): Positions {
  const rows = examples.flatMap(({ query, target }, e) => target.map((_, i) => e * length + query.length - 1 + i));
  return { rows, targets: examples.flatMap(({ target }) => target) };
}
