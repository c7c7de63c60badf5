/** A thread that helps with weighted sums. Needs Node. */
import { parentPort } from "node:worker_threads";
import { createKernel, type SharedJob, takeChunks } from "./sum-chunks.js";

const kernel = createKernel();
parentPort!.on("message", (job: SharedJob) => takeChunks(kernel, job));
