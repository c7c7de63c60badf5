import { availableParallelism } from "node:os";
import { Command, InvalidArgumentError } from "commander";
import type { BenchReport, Measured } from "../bench/run-bench.js";
import { codecNames } from "../state/codec.js";
import { bytes, duration, quantity, table } from "./format.js";
import { type GlobalOptions, interruptSignal, loadModel, reporterFor, wholeNumber } from "./globals.js";

interface BenchFlags extends GlobalOptions {
  contexts?: number[];
  contextTokens?: number[];
  promptTokens: number;
  repeat: number;
  out: string;
}

const examples = `
Times the first token after a prompt with k contexts of c tokens: stored states
composed (PICASO-R, from memory and from disk, in each codec) against the contexts' text
in the prompt. k runs at the c nearest to 256, c at the k nearest to 10. Beside each time
stands the machine's limit: the multiplications at the matrix rate and the bytes at the
memory's rate, both measured in the same run. Writes bench.json and plots into --out.

Examples:
  $ picaso bench
  $ picaso bench --contexts 0,1,5,10 --context-tokens 256,1024 --repeat 1
  $ picaso bench --model state-spaces/mamba2-130m --contexts 0,5,10 --out bench-130m`;

export function benchCommand(): Command {
  return new Command("bench")
    .description("time composition against concatenation on this machine")
    .option("--contexts <list>", "numbers of contexts (default: 0 to 10, 32, 100)", numberList(0))
    .option("--context-tokens <list>", "tokens of a context (default: 64 to 2048, doubling)", numberList(1))
    .option("--prompt-tokens <n>", "tokens of the prompt behind the contexts", wholeNumber(1), 64)
    .option("--repeat <n>", "times each point is measured", wholeNumber(1), 3)
    .option("--out <dir>", "folder for the results", "bench-results")
    .addHelpText("after", examples)
    .action(async (_: unknown, command: Command) => {
      const flags = command.optsWithGlobals<BenchFlags>();
      const reporter = reporterFor(flags);
      const signal = interruptSignal();
      const { runBench } = await import("../bench/run-bench.js");
      const model = await loadModel(flags, reporter);
      const { contexts, contextTokens, promptTokens, repeat, out, threads = availableParallelism() } = flags;
      const start = performance.now();
      const report = await runBench(model, {
        ...{ contexts, contextTokens, promptTokens, repeat, out, threads, signal },
        onProgress: ({ done, total }) => reporter.progress("measuring", { done, total, unit: "steps" }),
      });
      reporter.progressDone();
      const seconds = (performance.now() - start) / 1000;
      reporter.result(report, `${describe(report)}\n${duration(seconds)}; results in ${out}/\n`);
      await model.dispose();
    });
}

function describe(report: BenchReport): string {
  const { machine, ingest, findings, bytesPerPassage, points } = report;
  const { at } = findings;
  const disk = codecNames.map((codec) => `${codec} ${bytes(bytesPerPassage[codec])}`).join(", ");
  const facts = [
    ["machine", `${machine.processor}, ${machine.cores} cores`],
    ["memory", `reads ${bytes(machine.readOneThread)}/s on one thread, ${bytes(machine.readAllThreads)}/s on all`],
    ["products", `${(machine.gemm / 1e9).toFixed(0)} GFLOP/s in float32`],
    [
      "ingest",
      `${quantity(ingest.passagesPerSecond, "passages")}/s of ${ingest.contextTokens} tokens, ` +
        `${quantity(ingest.tokensPerSecond, "tokens")}/s`,
    ],
    ["a passage", `${disk} on disk`],
    ["peak memory", bytes(report.peakMemoryBytes)],
  ];
  const k = `k = ${at.contexts}`;
  const rows = findings.curves.map(({ curve, sooner, soonerAdded, longestOverShortest, msPerContext, ...rest }) => [
    curve,
    ...[times(sooner), times(soonerAdded), times(longestOverShortest)],
    msPerContext === null ? "" : `${msPerContext.toFixed(2)} ms`,
    `${rest.bytesMsPerContext.toFixed(2)} ms`,
  ]);
  const heading = ["", "sooner", "sooner, added", "longest c / shortest", "a context adds", "its bytes take"];
  return (
    `${table(facts)}\n` +
    `Time to the first token in ms, contexts of ${at.contextTokens} tokens (in brackets: times the machine's limit)\n` +
    `${timesTable(
      points.filter((point) => point.contextTokens === at.contextTokens),
      "contexts",
      "k",
    )}\n` +
    `Time to the first token in ms, ${k}\n` +
    `${timesTable(
      points.filter((point) => point.contexts === at.contexts),
      "contextTokens",
      "c",
    )}\n` +
    `Against concatenation, ${k}, c = ${at.contextTokens}; "added" is what the contexts add to the prompt's time\n` +
    `${table([heading, ...rows])}`
  );
}

function timesTable(points: readonly Measured[], by: "contexts" | "contextTokens", letter: string): string {
  const curves = [...new Set(points.map(({ curve }) => curve))];
  const values = [...new Set(points.map((point) => point[by]))];
  const cell = (curve: string, value: number) => {
    const point = points.find((each) => each.curve === curve && each[by] === value);
    if (!point) return "";
    const { median } = point.firstToken;
    return `${median.toFixed(median < 100 ? 1 : 0)} (${(median / point.limitMs).toFixed(1)})`;
  };
  return table([[letter, ...curves], ...values.map((value) => [`${value}`, ...curves.map((c) => cell(c, value))])]);
}

function times(ratio: number | null): string {
  return ratio === null ? "" : `${ratio >= 10 ? ratio.toFixed(0) : ratio.toFixed(2)} x`;
}

function numberList(least: number): (text: string) => number[] {
  return (text) => {
    const values = text.split(",").map((part) => (part.trim() === "" ? Number.NaN : Number(part)));
    if (!values.every((value) => Number.isSafeInteger(value) && value >= least)) {
      throw new InvalidArgumentError(`expected whole numbers from ${least}, separated by commas, such as 1,2,10.`);
    }
    return values;
  };
}
