/** A thread that reads its own memory whenever it is told to: see memory-rate.ts. */
import { parentPort, workerData } from "node:worker_threads";
import { createReader } from "./memory-rate.js";

const { bytes } = workerData as { bytes: number };
const read = createReader(bytes);
parentPort!.on("message", (finished: Int32Array) => {
  read(bytes);
  Atomics.add(finished, 0, 1);
  Atomics.notify(finished, 0);
});
parentPort!.postMessage("ready");
