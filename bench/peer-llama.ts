/**
 * llama.cpp through node-llama-cpp, as the peer that our engine's speed is compared with. It is no dependency: where
 * it is not installed, the message says how to get it. Only its public interface is used, with what slows it down
 * switched off (checkpoints of states).
 */
import { createRequire } from "node:module";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";

/** The parts of node-llama-cpp 3.22 that are used here. */
interface Peer {
  getLlama(options: object): Promise<{
    loadModel(options: object): Promise<{ createContext(options: object): Promise<PeerContext> }>;
    dispose(): Promise<void>;
  }>;
}
interface PeerContext {
  getSequence(options: object): PeerSequence;
}
interface PeerSequence {
  clearHistory(): Promise<void>;
  evaluateWithoutGeneratingNewTokens(tokens: number[]): Promise<void>;
  evaluate(tokens: number[], options: object): AsyncGenerator<number>;
  controlledEvaluate(input: unknown[]): Promise<({ next: { probabilities?: Map<number, number> } } | undefined)[]>;
}

const install = `node-llama-cpp is not installed. Install it outside the project and say where:
  npm install --prefix ~/peer node-llama-cpp@3.22 && PEER=~/peer npx tsx bench/...`;

/** The package installed in the folder `PEER`, or where this program finds it. */
async function findPeer(): Promise<Peer> {
  const from = process.env.PEER ? join(resolve(process.env.PEER), "package.json") : import.meta.url;
  let path: string;
  try {
    // It exports modules only, for which `require.resolve` finds no entry; its folder is where its files are looked up.
    const [folder] = createRequire(from).resolve.paths("node-llama-cpp") ?? [];
    path = join(folder ?? "", "node-llama-cpp", "dist", "index.js");
    return (await import(pathToFileURL(path).href)) as Peer;
  } catch (cause) {
    throw new Error(install, { cause });
  }
}

export class LlamaPeer {
  private constructor(
    private readonly llama: { dispose(): Promise<void> },
    private readonly sequence: PeerSequence,
  ) {}

  /** Opens a GGUF file on the CPU, for sequences of up to `longest` tokens; `batch` tokens go through at a time. */
  static async open(path: string, threads: number, batch: number, longest = 4096): Promise<LlamaPeer> {
    const { getLlama } = await findPeer();
    const llama = await getLlama({ gpu: false, build: "never", maxThreads: threads, logLevel: "error" });
    const model = await llama.loadModel({ modelPath: path });
    const context = await model.createContext({ contextSize: longest, batchSize: batch, threads });
    return new LlamaPeer(llama, context.getSequence({ checkpoints: { max: 0, interval: false } }));
  }

  /** Reads tokens from the zero state. */
  async prefill(tokens: number[]): Promise<void> {
    await this.sequence.clearHistory();
    await this.sequence.evaluateWithoutGeneratingNewTokens(tokens);
  }

  /** Continues greedily; `onToken` is called as each token is there. */
  async decode(last: number, count: number, onToken?: () => void): Promise<number[]> {
    const tokens: number[] = [];
    for await (const token of this.sequence.evaluate([last], { temperature: 0, yieldEogToken: true })) {
      tokens.push(token);
      onToken?.();
      if (tokens.length === count) break;
    }
    return tokens;
  }

  /** Probabilities of the token after `tokens`, read from the zero state. */
  async probabilities(tokens: number[], vocabulary: number): Promise<Float64Array> {
    await this.sequence.clearHistory();
    // Samplers cut the distribution unless told not to.
    const options = { temperature: 1, topK: vocabulary, topP: 1, minP: 0 };
    const last = [tokens.at(-1), { generateNext: { probabilities: true, options } }];
    const results = await this.sequence.controlledEvaluate([...tokens.slice(0, -1), last]);
    const map = results.at(-1)?.next.probabilities;
    if (!map) throw new Error("node-llama-cpp gave no probabilities");
    const probabilities = new Float64Array(vocabulary);
    for (const [token, probability] of map) probabilities[token] = probability;
    return probabilities;
  }

  async dispose(): Promise<void> {
    await this.llama.dispose();
  }
}
