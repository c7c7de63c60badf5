/**
 * A Web Worker over Node's worker threads, as far as jax-js needs one: it starts workers from blob URLs and speaks with
 * them through `postMessage` and `onmessage`. Node alone has no `Worker`, and without one jax-js computes on one core.
 */
import { resolveObjectURL } from "node:buffer";
import { Worker as NodeThread } from "node:worker_threads";

/** Gives the worker's source the globals that a Web Worker has. */
const prelude = `
const { parentPort } = require("node:worker_threads");
globalThis.self = globalThis;
globalThis.postMessage = (message) => parentPort.postMessage(message);
parentPort.on("message", (data) => self.onmessage({ data }));
`;

export class NodeWorker {
  onmessage: ((event: { data: unknown }) => void) | null = null;
  onerror: ((event: { message: string }) => void) | null = null;
  private readonly thread: Promise<NodeThread>;
  private unanswered = 0;

  constructor(url: string | URL) {
    this.thread = this.start(String(url));
    this.thread.catch((error) => this.onerror?.({ message: String(error) }));
  }

  postMessage(message: unknown): void {
    this.unanswered++;
    // A start that failed has been reported already.
    this.thread.then(
      (thread) => {
        thread.ref();
        thread.postMessage(message);
      },
      () => {},
    );
  }

  private async start(url: string): Promise<NodeThread> {
    const source = await resolveObjectURL(url)?.text();
    if (source === undefined) throw new Error(`worker source ${url} is not a blob URL`);
    const thread = new NodeThread(prelude + source, { eval: true });
    thread.on("message", (data) => {
      // An idle worker must not keep the process alive, one at work must.
      if (--this.unanswered === 0) thread.unref();
      this.onmessage?.({ data });
    });
    thread.on("error", (error) => this.onerror?.({ message: String(error) }));
    return thread;
  }
}
