/**
 * Several data sets trained on together, listed in a JSON file:
 *
 *     [
 *       {"task": "nq", "data": "nq-train.jsonl", "contexts": "1-5", "times": 4},
 *       {"task": "documents", "data": "books.jsonl", "contexts": "0-10", "passageTokens": 128}
 *     ]
 *
 * `data` is a hub reference or a path, seen from the file's folder. `times` says how often an epoch goes through it (1).
 */
import { dirname, resolve } from "node:path";
import { badField, integerField, listField, objectField, textField } from "../evaluate/data/fields.js";
import { readJson } from "../evaluate/data/files.js";
import type { ContextRange } from "./data.js";
import type { ExampleSource, TrainingExample } from "./example.js";
import { parseContextRange } from "./options.js";

export interface MixturePart {
  task: string;
  path: string;
  contexts?: ContextRange;
  passageTokens?: number;
  times: number;
}

const fields = ["task", "data", "contexts", "passageTokens", "times"];

/** The parts that a file lists. Throws `bad-file` naming part and field. */
export async function readMixture(path: string): Promise<MixturePart[]> {
  const parts = listField(await readJson(path), path, "mixture");
  if (parts.length === 0) throw badField(path, "mixture", "a part or more", "none");
  return parts.map((value, i) => readPart(value, path, `${path}, part ${i + 1}`));
}

function readPart(value: unknown, path: string, where: string): MixturePart {
  const row = objectField(value, where, "part");
  const unknown = Object.keys(row).find((field) => !fields.includes(field));
  if (unknown !== undefined) throw badField(where, unknown, `one of ${fields.join(", ")}`, "another field");
  const data = textField(row.data, where, "data");
  const contexts = row.contexts === undefined ? undefined : parseContextRange(String(row.contexts));
  if (contexts === null)
    throw badField(
      where,
      "contexts",
      'a number such as "4", or a range such as "0-10", the smaller first',
      `${row.contexts}`,
    );
  return {
    task: textField(row.task, where, "task"),
    path: data.startsWith("hub:") ? data : resolve(dirname(path), data),
    contexts,
    passageTokens:
      row.passageTokens === undefined ? undefined : integerField(row.passageTokens, where, "passageTokens", 16),
    times: row.times === undefined ? 1 : integerField(row.times, where, "times", 1),
  };
}

/**
 * All places of each source, as often as it says. A batch takes those of a source together, which so draws one number
 * of contexts for them.
 */
export function mixExamples(parts: readonly { source: ExampleSource; times: number }[]): ExampleSource {
  const starts: number[] = [];
  let size = 0;
  for (const { source, times } of parts) {
    starts.push(size);
    size += source.size * times;
  }
  return {
    size,
    async batch(places, random) {
      const examples: TrainingExample[] = [];
      for (const [i, { source }] of parts.entries()) {
        const [start, end] = [starts[i]!, starts[i + 1] ?? size];
        const own = places.filter((place) => place >= start && place < end);
        if (own.length > 0)
          examples.push(
            ...(await source.batch(
              own.map((place) => (place - start) % source.size),
              random,
            )),
          );
      }
      return examples;
    },
  };
}
