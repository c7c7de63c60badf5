/** A thread that helps with weighted sums. Needs Node. */
import { parentPort, workerData } from "node:worker_threads";
import type { Workspace } from "../kernel/weighted-sum.js";
import { createKernel, type SharedJob, takeChunks } from "./sum-chunks.js";

const kernel = createKernel(workerData as Workspace);
parentPort!.on("message", (job: SharedJob) => takeChunks(kernel, job));
