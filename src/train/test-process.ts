/** Runs the golden training in a process of its own, which a test kills: `node --import tsx test-process.ts MODEL OUTPUT`. */
import { goldenTraining } from "./test-support.js";
import { train } from "./train.js";

const [model, output] = process.argv.slice(2) as [string, string];
train(
  goldenTraining(model, output, { onProgress: (progress) => process.stdout.write(`${JSON.stringify(progress)}\n`) }),
).catch((error) => {
  console.error(error);
  process.exit(1);
});
