/**
 * Loads a model in a process of its own, for tests of what several processes do at once. As a program: loads the
 * folder in its first argument, kills itself when the share of the weights in its second has been written, and prints
 * what it found.
 */
import { spawn } from "node:child_process";
import { fileURLToPath } from "node:url";
import { LanguageModel } from "../../src/model/language-model.js";

export interface LoadReport {
  fingerprint: string;
  /** Logits after the tokens 3, 4, 5. */
  logits: number[];
}

/** Runs the program with `cache` as its `PICASO_CACHE`; null when it died. */
export async function loadInProcess(directory: string, cache: string, dieAt = 2): Promise<LoadReport | null> {
  const program = fileURLToPath(import.meta.url);
  const child = spawn(process.execPath, ["--import", "tsx", program, directory, String(dieAt)], {
    env: { ...process.env, PICASO_CACHE: cache },
    stdio: ["ignore", "pipe", "inherit"],
  });
  let output = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    output += text;
  });
  const [code, signal] = await new Promise<[number | null, NodeJS.Signals | null]>((resolve, reject) => {
    child.on("error", reject);
    child.on("close", (...end) => resolve(end));
  });
  if (signal === "SIGKILL") return null;
  if (code !== 0) throw new Error(`the process that loads ${directory} ended with ${code ?? signal}`);
  return JSON.parse(output) as LoadReport;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [directory, dieAt] = process.argv.slice(2) as [string, string];
  const model = await LanguageModel.load(directory, {
    threads: 1,
    onProgress: ({ done, total }) => {
      if (done >= Number(dieAt) * total) process.kill(process.pid, "SIGKILL");
    },
  });
  const { logits } = await model.forward([3, 4, 5]);
  console.log(JSON.stringify({ fingerprint: model.fingerprint, logits: Array.from(logits) } satisfies LoadReport));
  await model.dispose();
}
