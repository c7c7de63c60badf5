/** Starts threads, from the built package and from its sources alike. Needs Node. */
import { Worker, type WorkerOptions } from "node:worker_threads";

/** A thread that runs a module of this package, given by the URL of its compiled file. */
export function startThread(script: URL, options: WorkerOptions = {}): Worker {
  if (!import.meta.url.endsWith(".ts")) return new Worker(script, options);
  // From the sources: threads know nothing of the TypeScript that their parent can load.
  const source = JSON.stringify(script.href.replace(/\.js$/, ".ts"));
  const starter = `import("tsx/esm/api").then(({ register }) => { register(); return import(${source}); });`;
  return new Worker(starter, { ...options, eval: true });
}
