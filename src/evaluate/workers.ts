/**
 * Queries measured by several processes, each with its own model on one thread: on small models that uses all cores
 * better than threads do, since they would meet after every product.
 */
import { type ChildProcess, fork } from "node:child_process";
import { freemem } from "node:os";
import { fileURLToPath } from "node:url";
import { abortedError, PicasoError } from "../errors.js";
import type { WeightDtype } from "../model/quantize.js";
import type { Codec } from "../state/codec.js";
import type { QueryPlan, QueryResult } from "./measure-query.js";
import type { EvaluationQuery } from "./query.js";

export interface WorkerSetup {
  /** Folder of the model. */
  directory: string;
  dtype: WeightDtype;
  plan: QueryPlan;
  codec: Codec;
  beginning?: readonly number[];
  /** Bytes of states that the worker keeps. */
  memory: number;
}

export type NumberedQuery = [number: number, query: EvaluationQuery];

/** What a worker answers to each query. */
export type WorkerAnswer = { result: QueryResult } | { error: { message: string; code?: string } };

/** Neighbouring queries share contexts, whose states a worker then computes once. */
const mostInBlock = 8;

const script = fileURLToPath(new URL("./worker.js", import.meta.url));

export async function measureInWorkers(
  { workers, signal, ...setup }: Omit<WorkerSetup, "memory"> & { workers: number; signal?: AbortSignal },
  queries: readonly NumberedQuery[],
  take: (result: QueryResult) => Promise<void>,
): Promise<void> {
  // On many cores small blocks: the last one to end keeps the others waiting.
  const blockSize = Math.max(1, Math.min(mostInBlock, Math.floor(queries.length / workers / 4)));
  const blocks: NumberedQuery[][] = [];
  for (let start = 0; start < queries.length; start += blockSize) blocks.push(queries.slice(start, start + blockSize));
  const memory = Math.min(2e9, freemem() / workers / 4);
  const children = Array.from({ length: Math.min(workers, blocks.length) }, () => fork(script));
  const stop = () => {
    for (const child of children) child.kill();
  };
  signal?.addEventListener("abort", stop, { once: true });
  try {
    await Promise.all(
      children.map(async (child) => {
        child.send({ ...setup, memory } satisfies WorkerSetup);
        for (let block = blocks.shift(); block; block = blocks.shift()) {
          for (const query of block) await take(await ask(child, query, signal));
        }
      }),
    );
  } finally {
    signal?.removeEventListener("abort", stop);
    stop();
  }
}

function ask(child: ChildProcess, query: NumberedQuery, signal: AbortSignal | undefined): Promise<QueryResult> {
  return new Promise((resolve, reject) => {
    const ended = (code: number | null, killer: string | null) => {
      reject(signal?.aborted ? abortedError("evaluation", signal.reason) : died(`exit ${killer ?? code}`));
    };
    child.once("exit", ended);
    child.once("message", (answer: WorkerAnswer) => {
      child.off("exit", ended);
      if ("result" in answer) resolve(answer.result);
      else reject(died(answer.error.message));
    });
    child.send(query);
  });
}

function died(found: string): PicasoError {
  return new PicasoError("failed", {
    where: "a worker of the evaluation",
    expected: "to measure a query",
    found,
    next: "Run the same command again to go on; with fewer --workers if memory ran out.",
  });
}
