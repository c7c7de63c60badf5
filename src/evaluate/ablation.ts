/** What depends on one choice: the same queries measured once for each variant of it. */
import { join } from "node:path";
import { writeWhole } from "../cache.js";
import { PicasoError } from "../errors.js";
import type { LanguageModel } from "../model/language-model.js";
import { type Codec, codecNames } from "../state/codec.js";
import type { Adjustment } from "./adjustment.js";
import { wikiTextForms } from "./data/wikitext-form.js";
import { type Evaluated, type EvaluateOptions, planOf, settingsOf } from "./evaluate-suite.js";
import type { EvaluationMethod } from "./methods.js";
import type { EvaluationContext, EvaluationQuery } from "./query.js";
import { readSuite, type SuiteOptions, suiteBeginning } from "./read-suite.js";
import { interval, legendOf } from "./report/rows.js";
import { runEvaluation } from "./run.js";
import { type MethodSummary, summarize } from "./summary.js";

interface Variant {
  name: string;
  suite?: Partial<SuiteOptions>;
  adjustment?: Adjustment | ((queries: readonly EvaluationQuery[]) => Adjustment);
  codec?: Codec;
}

/** Cheaper than all: those whose outcome the variants can change, and what they are compared with. */
const defaultMethods: readonly EvaluationMethod[] = ["none", "soup", "caso", "picaso-r", "picaso-s", "concat"];

/** The suite of kinds that change how contexts are made. */
const suiteOf: Partial<Record<string, string>> = {
  "passage-length": "wikitext",
  retrieval: "wikitext",
  form: "wikitext",
  distractors: "needle",
};

export const ablations: Record<string, (model: LanguageModel, options: EvaluateOptions) => Variant[]> = {
  /** Contexts are cut shorter or longer; the queries stay. */
  "passage-length": () =>
    [64, 128, 256, 512, 1024].map((contextTokens) => ({ name: `${contextTokens} tokens`, suite: { contextTokens } })),
  retrieval: (_, { embedder }) =>
    ["random", "bm25", ...(embedder ? ["embedder"] : []), "oracle"].map((retrieval) => ({
      name: retrieval,
      suite: { retrieval },
    })),
  /** Of the k - 1 other contexts so many, where there are, state another fact of the same kind. */
  distractors: (_, { ks }) =>
    [0, 1, 3, 7]
      .filter((distractors) => distractors === 0 || distractors < Math.max(...ks))
      .map((distractors) => ({ name: `${distractors} distractors`, suite: { distractors } })),
  form: () => wikiTextForms.map((form) => ({ name: form, suite: { form } })),
  /** Layers that are not composed take the best context's state alone. */
  layers: (model) => {
    const { layers } = model.config;
    const half = Math.floor(layers / 2);
    return [
      { name: "all layers" },
      { name: `layers 1-${half}`, adjustment: { kind: "layers", from: 0, to: half } },
      { name: `layers ${half + 1}-${layers}`, adjustment: { kind: "layers", from: half, to: layers } },
    ];
  },
  conv: () =>
    (["mean", "last", "zero"] as const).map((choice) => ({ name: choice, adjustment: { kind: "conv", choice } })),
  codec: () => codecNames.map((codec) => ({ name: codec, codec })),
  /** Weights that sum to more than one count what all contexts have in common more than once. */
  shared: () => [
    { name: "as composed" },
    { name: "weights sum to one", adjustment: { kind: "sum-to-one" } },
    {
      name: "shared part once",
      adjustment: (queries) => ({ kind: "shared-once", sample: sampleContexts(queries, 96) }),
    },
  ],
};

/** The least similar contexts of evenly spaced queries. */
function sampleContexts(queries: readonly EvaluationQuery[], most: number): EvaluationContext[] {
  const step = Math.max(1, queries.length / most);
  const chosen = new Map<string, EvaluationContext>();
  for (let i = 0; i < queries.length; i += step) {
    const context = queries[Math.floor(i)]!.contexts.at(-1);
    if (context) chosen.set(context.id, context);
  }
  return [...chosen.values()];
}

export async function runAblation(model: LanguageModel, options: EvaluateOptions): Promise<Evaluated> {
  const kind = options.ablation ?? "";
  const variants = Object.hasOwn(ablations, kind) ? ablations[kind]!(model, options) : null;
  const wantedSuite = suiteOf[kind] ?? options.suite;
  if (!variants || wantedSuite !== options.suite) {
    throw new PicasoError("bad-argument", {
      where: "--ablation",
      expected: variants ? `the suite ${wantedSuite} for ${kind}` : Object.keys(ablations).join(", "),
      found: `${kind} with ${options.suite}`,
      next: "Name one of these.",
    });
  }
  const plan = planOf({ ...options, methods: options.methods ?? defaultMethods });
  const rows: { variant: string; methods: MethodSummary[] }[] = [];
  for (const { name, suite, adjustment, codec } of variants) {
    const varied = { ...options, ...suite };
    const queries = await readSuite(model, varied);
    const results = await runEvaluation(model, queries, {
      out: join(options.out, name.replaceAll(" ", "-")),
      plan: { ...plan, adjustment: typeof adjustment === "function" ? adjustment(queries) : adjustment },
      codec,
      workers: options.workers,
      beginning: suiteBeginning(model, varied),
      settings: { ...settingsOf(options), ablation: kind, variant: name },
      onProgress: (progress) => options.onProgress?.(name, progress),
      signal: options.signal,
    });
    rows.push({ variant: name, methods: summarize(results).methods });
  }
  const json = { settings: settingsOf(options), model: model.fingerprint, ablation: kind, variants: rows };
  await writeWhole(join(options.out, "summary.json"), `${JSON.stringify(json, null, 1)}\n`);
  const hasAnswers = rows.some(({ methods }) => methods.some(({ exactMatch }) => exactMatch));
  const head = ["variant", "k", "method", "log-perplexity", "share of gain", ...(hasAnswers ? ["EM", "F1"] : [])];
  const lines = rows.flatMap(({ variant, methods }) =>
    methods.map(({ method, k, logPerplexity, shareOfGain, exactMatch, f1 }) => [
      ...[variant, k, method],
      ...[logPerplexity, shareOfGain, ...(hasAnswers ? [exactMatch, f1] : [])].map(interval),
    ]),
  );
  return { json, rows: [head, ...lines], legend: legendOf(head) };
}
