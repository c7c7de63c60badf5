/** Composition of states as they are stored, on all cores, without making them whole in memory first. Needs Node. */
import { PicasoError } from "../../errors.js";
import { assertSameModel, type ContextState, stateSizes } from "../../state/context-state.js";
import { addPart, dataSumDigits, wordsIn } from "../../state/data-sum.js";
import { wrongSum } from "../../state/state-file.js";
import { type ComposeOptions, composeOrdered } from "../compose.js";
import { summingOrder } from "../order.js";
import { assertLogDecays, type CompositionMethod } from "../weights.js";
import type { StoredState } from "./stored-state.js";
import { type SumThreads, sumThreads } from "./sum-threads.js";

export interface ComposeStoredOptions extends ComposeOptions {
  /** @default all of the machine's, started once */
  threads?: SumThreads;
}

/**
 * What `compose` makes of the decoded states, with equal bits for f32 and bf16; for int8 weight and scale are
 * multiplied first, which differs by roundings. Equal bits for all orders, or rotations, as `compose` says. The
 * checksums of files are verified along the way.
 *
 * @throws PicasoError as `compose`; `bad-argument` for states in different codecs, `bad-file` for damaged files.
 */
export function composeStored(
  states: readonly StoredState[],
  method: CompositionMethod,
  { threads = sumThreads(), reuse }: ComposeStoredOptions = {},
): ContextState {
  for (const [k, state] of states.entries()) assertSameModel(states[0]!, state, `compose, state ${k}`);
  assertLogDecays(states.map((state) => state.logDecay));
  for (const state of states) {
    state.assertOpen();
    assertCodec(states[0]!, state);
  }
  const ordered = summingOrder(states, method, compareSums);
  if (reuse) assertSameModel(states[0]!, reuse, "compose, state to reuse");
  const ssm = reuse?.ssm ?? new Float32Array(stateSizes(states[0]!.shape).ssm);
  return composeOrdered(ordered, method, ssm, (job, part) => {
    const { finite, dataSums } = threads.run(job);
    if (part === "ssm") {
      for (const [k, state] of ordered.entries()) assertSum(state, dataSums.subarray(2 * k, 2 * k + 2));
    }
    if (!finite) for (const state of ordered) state.checkValues();
    if (!finite) throw notFinite();
  });
}

function assertCodec(first: StoredState, state: StoredState): void {
  if (state.metadata.codec === first.metadata.codec) return;
  throw new PicasoError("bad-argument", {
    where: `compose, ${state.where}`,
    expected: `the codec ${first.metadata.codec}, as in ${first.where}`,
    found: state.metadata.codec,
    next: "Decode the states and use `compose`.",
  });
}

/** Order of states with equal decays: equal sums are equal data. */
function compareSums({ metadata: a }: StoredState, { metadata: b }: StoredState): number {
  if (a.dataSum === b.dataSum) return 0;
  return a.dataSum < b.dataSum ? -1 : 1;
}

/** Adds the sums of what stands around ssm to A and B of ssm, and compares. */
function assertSum(state: StoredState, total: BigUint64Array): void {
  const around = state.aroundSsm();
  if (around === null) return;
  const { dataStart, dataEnd } = state.layout;
  addPart(total, 0, around.before, wordsIn(dataEnd - dataStart));
  addPart(total, 0, around.after, wordsIn(around.after.length));
  const found = dataSumDigits({ a: total[0]!, b: total[1]! });
  if (found !== state.metadata.dataSum) throw wrongSum(state.metadata, found, state.where);
}

function notFinite(): PicasoError {
  return new PicasoError("bad-argument", {
    where: "compose",
    expected: "states whose sum is finite",
    found: "values that are too large to be summed",
    next: "Leave out the contexts with such values: no model reads from such a state.",
  });
}
