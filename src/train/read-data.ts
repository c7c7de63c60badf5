/** From a data file and the kind of task it holds to training examples. */
import { PicasoError } from "../errors.js";
import { badField } from "../evaluate/data/fields.js";
import { parseMsMarco, readMsMarco } from "../evaluate/data/msmarco.js";
import { readNq } from "../evaluate/data/nq.js";
import { readParquet } from "../evaluate/data/parquet.js";
import { readSquad } from "../evaluate/data/squad.js";
import { readWikiText } from "../evaluate/data/wikitext.js";
import { fragmentForm } from "../evaluate/data/wikitext-form.js";
import { resolveDataFile } from "../hub/data-file.js";
import type { FormedModel } from "../model/form.js";
import { findDocumentFiles, readDocuments } from "../retrieve/documents.js";
import { TextIndex } from "../retrieve/text-index.js";
import {
  type ContextRange,
  continuationExamples,
  msMarcoExamples,
  nqQuestions,
  questionExamples,
  retrieved,
  sameArticle,
  squadQuestions,
  wikiTexts,
} from "./data.js";
import type { ExampleSource } from "./example.js";
import { type MixturePart, mixExamples, readMixture } from "./mixture.js";
import { readOwnExamples } from "./own-examples.js";

/**
 * - `wikitext`: continue a passage given others of its article (a WikiText token file)
 * - `documents`: the same for one's own documents, a file or a folder
 * - `squad`: answer from paragraphs of one article (SQuAD's format)
 * - `nq`: answer from the right passage among the best others by BM25 (NQ-open with gold passages)
 * - `msmarco`: answer from all passages of a row (MS MARCO QA)
 * - `examples`: one's own contexts, questions and answers; see own-examples.ts
 * - `mixture`: several of these together; see mixture.ts
 */
export const trainingTasks = ["wikitext", "documents", "squad", "nq", "msmarco", "examples", "mixture"] as const;

export type TrainingTask = (typeof trainingTasks)[number];

export interface DataOptions {
  task: TrainingTask;
  /** File, or hub reference; for `documents` a folder too. */
  path: string;
  /** How many contexts; tasks whose rows carry their own take none. @default by task: 0 to 10, or 1 to 10 */
  contexts?: ContextRange;
  /** wikitext, documents: most tokens of a passage. @default 128 */
  passageTokens?: number;
  offline?: boolean;
  /** wikitext, documents: texts cut into passages so far. */
  onProgress?: (progress: { done: number; total: number }) => void;
  signal?: AbortSignal;
}

/** Throws `bad-argument`, `not-found` and `bad-file` naming file, row and field. */
export async function readTrainingData(model: FormedModel, options: DataOptions): Promise<ExampleSource> {
  const { task, contexts, passageTokens, offline, onProgress, signal } = options;
  const continuation = { contexts, passageTokens, onProgress, signal };
  if (task === "documents") return continuationExamples(model, await readTexts(options.path), continuation);
  const path = await resolveDataFile(options.path, { offline, signal });
  switch (task) {
    case "wikitext":
      return continuationExamples(model, wikiTexts(await readWikiText(path)), {
        ...continuation,
        form: fragmentForm(model),
      });
    case "squad": {
      const { pool, articles, questions } = squadQuestions(await readSquad(path));
      return questionExamples(model, pool, questions, sameArticle(articles), { contexts });
    }
    case "nq": {
      const { pool, questions } = nqQuestions(await readNq(path));
      const index = await TextIndex.build(pool);
      const search = (text: string, limit: number) => index.search(text, limit);
      return questionExamples(model, pool, questions, retrieved(search), { contexts });
    }
    case "msmarco":
      refuseContexts(options);
      return msMarcoExamples(
        model,
        path.endsWith(".parquet") ? parseMsMarco(await readParquet(path), path) : await readMsMarco(path),
      );
    case "examples":
      refuseContexts(options);
      return readOwnExamples(model, path);
    case "mixture":
      refuseContexts(options);
      return mixExamples(await readParts(model, path, await readMixture(path), options));
  }
}

/** The parts of a mixture, one after the other. */
async function readParts(model: FormedModel, path: string, parts: readonly MixturePart[], options: DataOptions) {
  const sources: { source: ExampleSource; times: number }[] = [];
  for (const [i, { times, task, ...part }] of parts.entries()) {
    const known = trainingTasks.find((name) => name === task && name !== "mixture");
    if (!known) {
      const expected = `one of ${trainingTasks.filter((name) => name !== "mixture").join(", ")}`;
      throw badField(`${path}, part ${i + 1}`, "task", expected, task);
    }
    try {
      sources.push({ source: await readTrainingData(model, { ...options, ...part, task: known }), times });
    } catch (error) {
      if (!PicasoError.isInstance(error)) throw error;
      const { where, ...details } = error.details;
      throw new PicasoError(error.code, { ...details, where: `${path}, part ${i + 1}: ${where}` });
    }
  }
  return sources;
}

async function readTexts(path: string): Promise<{ title: string; text: string }[]> {
  const texts: { title: string; text: string }[] = [];
  for (const file of await findDocumentFiles([path])) {
    for await (const { source, text } of readDocuments(file)) texts.push({ title: source, text });
  }
  return texts;
}

function refuseContexts({ task, contexts }: DataOptions): void {
  if (contexts === undefined) return;
  throw new PicasoError("bad-argument", {
    where: "training data, contexts",
    expected: `no number of contexts for the task ${task}, whose rows carry their own`,
    found: `${contexts.min} to ${contexts.max}`,
    next: "Leave it out.",
  });
}
