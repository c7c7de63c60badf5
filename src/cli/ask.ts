import { Command, Option } from "commander";
import type { Answer } from "../answer/ask.js";
import { duration, shortPath } from "./format.js";
import { type GlobalOptions, interruptSignal, loadModel, numberWithin, reporterFor, wholeNumber } from "./globals.js";

interface AskFlags extends GlobalOptions {
  k?: number;
  method: Answer["method"];
  contexts?: string[];
  maxTokens: number;
  temperature: number;
  topK: number;
  topP: number;
  seed?: number;
}

const examples = `
Examples:
  $ picaso ask "When was the Eiffel Tower completed?"
  $ picaso ask "Who discovered penicillin?" -k 2 --method picaso-s --json
  $ picaso ask "How tall is it?" --contexts 3f9a12,b07c55`;

export function askCommand(): Command {
  return new Command("ask")
    .description("answer a question from the store's passages")
    .argument("<question...>", "its words, best in quotes")
    .option("-k <n>", "passages to retrieve (default: 4)", wholeNumber(1, 10_000))
    .addOption(
      new Option(
        "--method <method>",
        "how their states are composed; concat reads their text again, none uses no passage",
      )
        .choices(["picaso-r", "picaso-s", "caso", "soup", "concat", "none"])
        .default("picaso-r"),
    )
    .option("--contexts <ids>", "passages to use instead of retrieving any, as comma-separated ids", (ids) =>
      ids.split(",").map((id) => id.trim()),
    )
    .option("--max-tokens <n>", "longest answer", wholeNumber(1), 64)
    .option("--temperature <t>", "0 takes the likeliest token each time", numberWithin(0, 100), 0)
    .option("--top-k <n>", "draw from the n likeliest tokens; 0 for all", wholeNumber(0), 0)
    .option("--top-p <p>", "draw from the likeliest tokens of this total probability", numberWithin(1e-9, 1), 1)
    .option("--seed <n>", "makes draws repeatable", wholeNumber(0))
    .addHelpText("after", examples)
    .action(async (words: string[], _: unknown, command: Command) => {
      const flags = command.optsWithGlobals<AskFlags>();
      const reporter = reporterFor(flags);
      const signal = interruptSignal();
      const [{ ask }, { StateStore }] = await Promise.all([import("../answer/ask.js"), import("../store/store.js")]);
      // Opened first without the model, so that a missing store is told at once.
      const [model] = await Promise.all([
        loadModel(flags, reporter),
        StateStore.open(flags.store).then((s) => s.close()),
      ]);
      const store = await StateStore.open(flags.store, { model });
      const { k, method, contexts, maxTokens, temperature, topK, topP, seed } = flags;
      let streamed = "";
      const onText = (text: string) => {
        const piece = streamed ? text : text.trimStart();
        streamed += piece;
        process.stdout.write(piece);
      };
      const answer = await ask(store, words.join(" "), {
        ...{ k, method, contexts, maxTokens, temperature, topK, topP, seed, signal },
        ...(!flags.json && { onText }),
      });
      if (answer.contexts.length === 0 && method !== "none") {
        // On a terminal the answer has just been written there.
        if (!flags.json) process.stdout.write("\n");
        reporter.note("No passage of the store has a word of the question: the answer comes from the model alone.");
      }
      reporter.result(answer, flags.quiet ? "\n" : `\n\n${describe(answer)}`);
      await store.close();
      await model.dispose();
    });
}

/** The sources with their scores, and where the time went. */
function describe({ contexts, timings, tokens, method }: Answer): string {
  const lines = contexts.map(({ source, id, score, weight }) => {
    const parts = [
      ...(score === null ? [] : [`score ${score.toFixed(2)}`]),
      ...(weight === null ? [] : [`weight ${weight.toFixed(3)}`]),
    ];
    return `  ${id}  ${shortPath(source)}  ${parts.join(", ")}\n`;
  });
  const { retrieveMs, loadMs, composeMs, prefillMs, firstTokenMs, totalMs } = timings;
  const stages = { retrieve: retrieveMs, load: loadMs, compose: composeMs, prefill: prefillMs };
  const times = Object.entries(stages).map(([stage, ms]) => `${stage} ${duration(ms / 1000)}`);
  const read =
    method === "concat"
      ? `${tokens.prompt} tokens read, ${tokens.contexts} of them passages`
      : `${tokens.prompt} tokens read, ${tokens.contexts} came as states`;
  const heading = contexts.length === 0 ? "No passage was used.\n" : `Sources (${method}):\n`;
  return (
    `${heading}${lines.join("")}` +
    `First token after ${duration(firstTokenMs / 1000)} (${times.join(", ")}), ${tokens.generated} tokens in ` +
    `${duration(totalMs / 1000)}; ${read}.\n`
  );
}
