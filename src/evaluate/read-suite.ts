/** The queries of each suite, from its data file. */
import { PicasoError } from "../errors.js";
import { resolveDataFile } from "../hub/data-file.js";
import { beginning } from "../model/form.js";
import type { LanguageModel } from "../model/language-model.js";
import type { Embedder } from "../retrieve/embedder.js";
import { type MsMarcoRow, parseMsMarco, readMsMarco } from "./data/msmarco.js";
import { readParquet } from "./data/parquet.js";
import { readSquad } from "./data/squad.js";
import { fragmentForm, type WikiTextForm } from "./data/wikitext-form.js";
import type { EvaluationQuery } from "./query.js";
import type { Embedding } from "./retrieval.js";
import { msMarcoQueries } from "./suites/msmarco.js";
import { needleQueries } from "./suites/needle.js";
import { qaQueries } from "./suites/qa.js";
import { wikiTextQueries } from "./suites/wikitext.js";

export interface SuiteOptions {
  suite: string;
  /** File, or hub reference. */
  data: string;
  /** Most contexts of a query are the largest of these. */
  ks: readonly number[];
  queries?: number;
  seed: number;
  retrieval?: string;
  /** For the retrieval "embedder". */
  embedder?: Embedder;
  passageTokens: number;
  /** wikitext: most tokens of the passages that contexts are cut from. @default passageTokens */
  contextTokens?: number;
  /** wikitext: how fragments are written. @default "file" */
  form?: WikiTextForm;
  /** needle: contexts that state another fact of the same kind. @default 0 */
  distractors?: number;
  /** More files for the database. */
  pool: readonly string[];
  offline?: boolean;
  /** Counts queries unless `unit` says otherwise. */
  onProgress?: (label: string, progress: { done: number; total: number; unit?: "passages" }) => void;
  signal?: AbortSignal;
}

export async function readSuite(model: LanguageModel, options: SuiteOptions): Promise<EvaluationQuery[]> {
  const { queries, seed, passageTokens, contextTokens, form, distractors, pool, signal } = options;
  const path = await resolveDataFile(options.data, { offline: options.offline, signal: options.signal });
  const contexts = Math.max(1, ...options.ks);
  switch (options.suite) {
    case "wikitext": {
      const retrieval = choose(options, ["bm25", "random", "oracle"]);
      return wikiTextQueries(model, {
        ...{ path, pool, passageTokens, contextTokens, form, retrieval, queries, contexts, seed, signal },
        onProgress: (progress) => options.onProgress?.("ranking", progress),
      });
    }
    case "msmarco": {
      const rows = await readRows(path);
      const ranking = choose(options, ["given", "bm25"]);
      return msMarcoQueries(model, rows, { ranking, queries });
    }
    case "qa": {
      const retrieval = choose(options, ["bm25", "oracle", "article", "random"]);
      return qaQueries(model, await readSquad(path), { retrieval, contexts, queries, seed });
    }
    case "needle":
      return needleQueries(model, { path, passageTokens, queries: queries ?? 100, contexts, distractors, seed });
    default:
      throw new PicasoError("bad-argument", {
        where: "suite",
        expected: "wikitext, msmarco, qa, needle or perplexity",
        found: options.suite,
        next: "Name one of these.",
      });
  }
}

/** Tokens that stand before every context of a suite, and before a prompt without contexts. */
export function suiteBeginning(
  model: LanguageModel,
  { suite, form }: Pick<SuiteOptions, "suite" | "form">,
): readonly number[] {
  return suite === "wikitext" ? fragmentForm(model, form).beginning : beginning(model);
}

async function readRows(path: string): Promise<MsMarcoRow[]> {
  if (!path.endsWith(".parquet")) return readMsMarco(path);
  return parseMsMarco(await readParquet(path), path);
}

/** The retrieval asked for, the first choice by default; in place of "embedder" what a suite needs to use one. */
function choose<Choice extends string>(options: SuiteOptions, choices: [Choice, ...Choice[]]): Choice | Embedding {
  const { suite, retrieval = choices[0] } = options;
  if (retrieval === "embedder") return embeddingOf(options);
  const choice = choices.find((each) => each === retrieval);
  if (choice) return choice;
  throw new PicasoError("bad-argument", {
    where: "--retrieval",
    expected: `${choices.join(", ")} or embedder for ${suite}`,
    found: retrieval,
    next: "Name one of these.",
  });
}

function embeddingOf({ embedder, onProgress, signal }: SuiteOptions): Embedding {
  if (embedder) {
    return { embedder, signal, onProgress: (counts) => onProgress?.("embedding", { ...counts, unit: "passages" }) };
  }
  throw new PicasoError("bad-argument", {
    where: "--embedder",
    expected: "a model for --retrieval embedder",
    found: "none",
    next: "Give the folder of a Sentence-Transformers model with an ONNX export, or its id on the hub.",
  });
}
