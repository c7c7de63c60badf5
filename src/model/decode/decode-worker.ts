/** A thread that helps the decoder until it is told to stop. Needs Node. */
import { workerData } from "node:worker_threads";
import { type DecodeThread, instantiate } from "./decode-thread.js";
import { FAILED } from "./plan.js";

const thread = workerData as DecodeThread;
try {
  instantiate(thread).work(thread.control, thread.steps, thread.end, thread.seen);
} catch (cause) {
  // Whoever waits for this thread's part is told first: it cannot see an error while it waits.
  Atomics.store(new Int32Array(thread.memory.buffer), (thread.control + FAILED) / 4, 1);
  throw cause;
}
