/**
 * One token after the other from one state, on several threads over one WebAssembly memory that holds the weights, at
 * the speed of memory. The caller's thread takes part; with one thread there are no others. Needs Node.
 */
import { open } from "node:fs/promises";
import { setImmediate as turn } from "node:timers/promises";
import type { Worker } from "node:worker_threads";
import { PicasoError, throwIfAborted } from "../../errors.js";
import { startThread } from "../../thread.js";
import type { Mamba2Config } from "../config.js";
import type { WeightDtype } from "../quantize.js";
import { decodeBase64 } from "./decode.generated.js";
import { type DecodeThread, instantiate } from "./decode-thread.js";
import { type DecodePlan, FAILED, GENERATION, HELPED, MOST_BYTES, planDecoding, STOP, TOKEN } from "./plan.js";
import { STEP_BYTES, writeSteps } from "./steps.js";

/** Bytes that one read of the weights file takes; several are under way at a time. */
const PIECE = 4 * 2 ** 20;
const READS = 4;

const PAGE = 65536;

export interface DecoderOptions {
  /** The compiled model's weights, as graph-weights.ts lays them out. */
  weightsPath: string;
  config: Mamba2Config;
  dtype: WeightDtype;
  threads: number;
}

/** A state's arrays in the decoder's memory: ssm [L, H, N, P], conv [L, W, C]. */
export interface HeldState {
  ssm: Float32Array;
  conv: Float32Array;
}

/** Whose state the decoder holds. There is room for one: it is given back when another comes. */
export interface StateOwner {
  /** Writes the state there. */
  moveTo(held: HeldState): void;
  /** Takes the state, as it is now. */
  takeBack(held: HeldState): void;
}

function planOf(config: Mamba2Config, dtype: WeightDtype): DecodePlan | null {
  if ((config.normGroups ?? 1) > 1) return null;
  const plan = planDecoding(config, dtype);
  return plan.bytes <= MOST_BYTES ? plan : null;
}

export class Decoder {
  private readonly held: HeldState;
  private readonly logits: Float32Array;
  private readonly logDecay: Float32Array;
  private readonly control: Int32Array;
  private readonly kernels: ReturnType<typeof instantiate>;
  private readonly workers: Worker[];
  private owner: StateOwner | null = null;
  private failure: PicasoError | null = null;

  private constructor(
    private readonly thread: DecodeThread,
    plan: DecodePlan,
    threads: number,
  ) {
    const { buffer } = thread.memory;
    const view = ({ address, length }: { address: number; length: number }) =>
      new Float32Array(buffer, address, length);
    this.held = { ssm: view(plan.ssm), conv: view(plan.conv) };
    this.logits = view(plan.logits);
    this.logDecay = view(plan.logDecay);
    this.control = new Int32Array(buffer, 0, plan.weights.address / 4);
    this.kernels = instantiate(thread);
    this.workers = Array.from({ length: threads - 1 }, () => this.startWorker());
  }

  /**
   * Bytes of memory that decoding takes beside ONNX Runtime's; null for models that it leaves to that: those that need
   * more than {@link MOST_BYTES}, or normalise groups of channels on their own.
   */
  static bytes(config: Mamba2Config, dtype: WeightDtype): number | null {
    return planOf(config, dtype)?.bytes ?? null;
  }

  /**
   * Reads the weights into a memory of its own, or gives null where {@link bytes} does.
   * Throws `failed` where there is not so much memory, and `bad-file` where the weights file is not what was compiled.
   */
  static async load({ weightsPath, config, dtype, threads }: DecoderOptions): Promise<Decoder | null> {
    const plan = planOf(config, dtype);
    if (!plan) return null;
    const memory = allocate(plan.bytes);
    const { address, bytes } = plan.weights;
    await readFully(weightsPath, new Uint8Array(memory.buffer, address, bytes));
    const end = plan.stepsAt + plan.steps.length * STEP_BYTES;
    writeSteps(plan.steps, new Int32Array(memory.buffer, plan.stepsAt, (end - plan.stepsAt) / 4));
    const module = await WebAssembly.compile(Buffer.from(decodeBase64, "base64"));
    return new Decoder({ module, memory, control: 0, steps: plan.stepsAt, end, seen: 0 }, plan, threads);
  }

  /**
   * Reads a token from the owner's state, which moves behind it. `use` gets the logits [vocabulary] and the token's log
   * transitions [L, H], which the next token overwrites. Throws `failed` where a thread has; the state is lost then.
   */
  async read<R>(
    owner: StateOwner,
    token: number,
    use: (logits: Float32Array, logDecay: Float32Array) => R,
    signal?: AbortSignal,
  ): Promise<R> {
    // Threads that compute leave no time for anything else: signals and other work have their turn between tokens.
    await turn();
    throwIfAborted(signal, "model");
    if (this.failure) throw this.failure;
    this.hold(owner);
    this.run(token);
    return use(this.logits, this.logDecay);
  }

  /** Parts of tokens that other threads than the caller's have computed so far. */
  get chunksShared(): number {
    return Atomics.load(this.control, HELPED / 4);
  }

  /** Gives the owner its state if the decoder has it; it goes on holding it until {@link release}. */
  copyBack(owner: StateOwner): void {
    if (this.owner === owner) owner.takeBack(this.held);
  }

  /** Gives the owner its state and holds it no longer. */
  release(owner: StateOwner): void {
    this.copyBack(owner);
    this.forget(owner);
  }

  /** Holds the owner's state no longer, which nobody needs. */
  forget(owner: StateOwner): void {
    if (this.owner === owner) this.owner = null;
  }

  /** Ends the threads; owners get their states back. */
  async dispose(): Promise<void> {
    if (this.owner) this.release(this.owner);
    this.failure ??= stopped("a model that was disposed of", "Load the model again.");
    Atomics.store(this.control, STOP / 4, 1);
    Atomics.add(this.control, GENERATION / 4, 1);
    Atomics.notify(this.control, GENERATION / 4);
    await Promise.all(this.workers.map((worker) => worker.terminate()));
  }

  private hold(owner: StateOwner): void {
    if (this.owner === owner) return;
    this.owner?.takeBack(this.held);
    owner.moveTo(this.held);
    this.owner = owner;
  }

  private run(token: number): void {
    const { control, steps, end } = this.thread;
    this.control[TOKEN / 4] = token;
    const generation = Atomics.add(this.control, GENERATION / 4, 1) + 1;
    Atomics.notify(this.control, GENERATION / 4);
    try {
      if (this.kernels.run(control, steps, end, generation) >= 0) return;
    } catch (cause) {
      Atomics.store(this.control, FAILED / 4, 1);
      this.failure ??= stopped(String(cause), "Load the model again.", cause);
      throw this.failure;
    }
    this.failure ??= stopped("a thread that failed", "Load the model again, or with `threads: 1`.");
    throw this.failure;
  }

  private startWorker(): Worker {
    const worker = startThread(new URL("./decode-worker.js", import.meta.url), { workerData: this.thread });
    worker.on("error", (cause) => {
      this.failure = stopped(`a thread that failed: ${cause}`, "Load the model again, or with `threads: 1`.", cause);
    });
    // It never keeps the process alive.
    worker.unref();
    return worker;
  }
}

function stopped(found: string, next: string, cause?: unknown): PicasoError {
  return new PicasoError("failed", { where: "decoder", expected: "to run", found, next, cause });
}

function allocate(bytes: number): WebAssembly.Memory {
  const pages = Math.ceil(bytes / PAGE);
  try {
    return new WebAssembly.Memory({ initial: pages, maximum: pages, shared: true });
  } catch (cause) {
    const next = 'Free memory, or load the model with `dtype: "q8"`.';
    const found = "none";
    throw new PicasoError("failed", { where: "decoder", expected: `${bytes} bytes of memory`, found, next, cause });
  }
}

/** Fills `target` with a file of that size. */
async function readFully(path: string, target: Uint8Array): Promise<void> {
  const file = await open(path);
  let next = 0;
  const readPieces = async () => {
    for (let begin = next; begin < target.length; begin = next) {
      const end = Math.min(begin + PIECE, target.length);
      next = end;
      for (let at = begin; at < end; ) {
        const { bytesRead } = await file.read(target, at, end - at, at);
        if (bytesRead === 0) throw truncated(path, target.length, at);
        at += bytesRead;
      }
    }
  };
  try {
    await Promise.all(Array.from({ length: READS }, readPieces));
  } finally {
    await file.close();
  }
}

function truncated(path: string, expected: number, found: number): PicasoError {
  return new PicasoError("bad-file", {
    where: path,
    expected: `${expected} bytes, as compiled`,
    found: `its end at ${found}`,
    next: "Delete its folder; the next load compiles it again.",
  });
}
