/**
 * Runs the golden training in a process of its own, which dies by SIGKILL right after a step:
 * `node --import tsx test-process.ts MODEL OUTPUT STEP`.
 */
import { goldenTraining } from "./test-support.js";
import { train } from "./train.js";

const [model, output, last] = process.argv.slice(2) as [string, string, string];
await train(
  goldenTraining(model, output, {
    onProgress: (progress) => {
      if (progress.phase === "step" && progress.step === Number(last)) process.kill(process.pid, "SIGKILL");
    },
  }),
);
