/** What the paper claims of composition, in numbers of a run. */
import type { Codec } from "../state/codec.js";
import { type MachineRates, readRate } from "./machine.js";
import type { Measured } from "./run-bench.js";
import { lineThrough } from "./statistics.js";

export interface Findings {
  /** The point that the first three are about. */
  at: { contexts: number; contextTokens: number };
  curves: {
    curve: string;
    /** How many times sooner the first token comes than by concatenation; null where that was not measured. */
    sooner: number | null;
    /** What reading the contexts' tokens adds to the prompt's time over what making the state takes; null without k = 0. */
    soonerAdded: number | null;
    /** Time to the first token with the longest contexts over that with the shortest, k fixed. */
    longestOverShortest: number | null;
    /** Milliseconds that one more context adds to making the state, by a line through all k; null for fewer than three. */
    msPerContext: number | null;
    /** Milliseconds that its bytes take at the memory's rate. */
    bytesMsPerContext: number;
  }[];
}

export function findingsOf(
  measured: readonly Measured[],
  {
    fixedTokens,
    fixedContexts,
    bytesPerPassage,
    machine,
  }: {
    fixedTokens: number;
    fixedContexts: number;
    bytesPerPassage: Record<Codec, number>;
    machine: MachineRates;
  },
): Findings {
  const time = (curve: string, contexts: number, tokens: number) =>
    measured.find((m) => m.curve === curve && m.contexts === contexts && m.contextTokens === tokens)?.firstToken.median;
  const ratio = (a: number | undefined, b: number | undefined) => (a === undefined || b === undefined ? null : a / b);
  const minus = (a: number | undefined, b: number | undefined) =>
    a === undefined || b === undefined ? undefined : a - b;
  const composed = [...new Set(measured.filter(({ reads }) => reads === "states").map(({ curve }) => curve))];
  const curves = composed.map((curve) => {
    const own = measured.filter((m) => m.curve === curve);
    const lengths = own.filter((m) => m.contexts === fixedContexts).map((m) => m.contextTokens);
    const byContexts = own
      .filter((m) => m.contextTokens === fixedTokens)
      .flatMap((m) => (m.state === null ? [] : [{ x: m.contexts, y: m.state.median }]));
    const here = time(curve, fixedContexts, fixedTokens);
    const concat = time("concat", fixedContexts, fixedTokens);
    const codec = curve.split(",")[0] as Codec;
    return {
      curve,
      sooner: ratio(concat, here),
      soonerAdded: ratio(minus(concat, time("concat", 0, fixedTokens)), stateAt(own, fixedContexts, fixedTokens)),
      longestOverShortest: ratio(
        time(curve, fixedContexts, Math.max(...lengths)),
        time(curve, fixedContexts, Math.min(...lengths)),
      ),
      msPerContext: byContexts.length < 3 ? null : lineThrough(byContexts).slope,
      bytesMsPerContext: (1000 * bytesPerPassage[codec]) / readRate(machine),
    };
  });
  return { at: { contexts: fixedContexts, contextTokens: fixedTokens }, curves };
}

function stateAt(own: readonly Measured[], contexts: number, tokens: number): number | undefined {
  return own.find((m) => m.contexts === contexts && m.contextTokens === tokens)?.state?.median;
}
