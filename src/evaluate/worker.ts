/** A process that measures queries for another: gets its setup first, then one query after the other. */
import { LanguageModel } from "../model/language-model.js";
import { ContextStates } from "./context-states.js";
import { measureQuery } from "./measure-query.js";
import type { NumberedQuery, WorkerAnswer, WorkerSetup } from "./workers.js";

process.once("message", async (setup: WorkerSetup) => {
  const loading = LanguageModel.load(setup.directory, { dtype: setup.dtype, threads: 1 });
  const states = loading.then((model) => new ContextStates(model, setup));
  process.on("message", async ([number, query]: NumberedQuery) => {
    const answer = await measure(loading, states, query, number, setup);
    process.send!(answer);
  });
});

async function measure(
  loading: Promise<LanguageModel>,
  states: Promise<ContextStates>,
  query: NumberedQuery[1],
  number: number,
  { plan }: WorkerSetup,
): Promise<WorkerAnswer> {
  try {
    return { result: await measureQuery(await loading, await states, query, number, plan) };
  } catch (error) {
    return { error: { message: error instanceof Error ? error.message : String(error) } };
  }
}

// The parent is gone: nobody wants the results.
process.on("disconnect", () => process.exit());
