#!/usr/bin/env node
/** The command line: defines the verbs, runs one, and turns errors into exit codes (1 failed, 2 bad usage). */
import { readFileSync } from "node:fs";
import { Command, CommanderError } from "commander";
import { PicasoError } from "../errors.js";
import { askCommand } from "./ask.js";
import { benchCommand } from "./bench.js";
import { doctorCommand } from "./doctor.js";
import { evalCommand } from "./eval.js";
import { gcCommand } from "./gc.js";
import { addGlobalOptions, readEnvironment } from "./globals.js";
import { indexCommand } from "./index-documents.js";
import { lsCommand } from "./ls.js";
import { modelCommand } from "./model.js";
import { rmCommand } from "./rm.js";
import { statsCommand } from "./stats.js";
import { trainCommand } from "./train.js";
import { verifyCommand } from "./verify.js";

const { version } = JSON.parse(readFileSync(new URL("../../package.json", import.meta.url), "utf8"));

const introduction = `The state database for state-space language models.

Each passage of your documents is turned into a state of a Mamba-2 model once.
At question time the states of the best passages are composed into one, in no
particular order, and the answer starts from there: nothing is read again.

  picaso index docs/              read documents into the store
  picaso ask "Who built it?"      answer from them

Options that all commands share can be set in the environment too, as
PICASO_STORE, PICASO_THREADS and so on; the option wins. Compiled models are
kept in PICASO_CACHE. Exit codes: 0 done, 1 failed, 2 bad usage.`;

function program({ json }: { json: boolean }): Command {
  const root = new Command("picaso")
    .description(introduction)
    .version(version)
    .configureHelp({ showGlobalOptions: true })
    .showHelpAfterError("Run the command with --help to see what it takes.")
    // With --json, bad usage is told as an object below.
    .configureOutput(json ? { writeErr: () => {} } : {})
    .exitOverride();
  addGlobalOptions(root);
  const commands = [
    indexCommand(),
    askCommand(),
    lsCommand(),
    rmCommand(),
    statsCommand(),
    verifyCommand(),
    gcCommand(),
    evalCommand(),
    benchCommand(),
    trainCommand(),
    modelCommand(),
    doctorCommand(),
  ];
  for (const command of commands) {
    for (const each of [command, ...command.commands]) each.copyInheritedSettings(root);
    root.addCommand(command);
  }
  return root;
}

async function main(): Promise<number> {
  // A reader that has seen enough, as in `picaso ls | head`, is no failure.
  process.stdout.on("error", (error: NodeJS.ErrnoException) => process.exit(error.code === "EPIPE" ? 0 : 1));
  const tell = (error: object) => process.stderr.write(`${JSON.stringify({ error })}\n`);
  let json = process.argv.includes("--json");
  try {
    readEnvironment(process.env);
    json ||= process.env.PICASO_JSON !== undefined;
    await program({ json }).parseAsync(process.argv);
    return process.exitCode === undefined ? 0 : Number(process.exitCode);
  } catch (error) {
    if (error instanceof CommanderError) {
      if (error.exitCode === 0) return 0;
      if (json) tell({ code: "bad-argument", message: error.message.replace(/^error: /, "") });
      return 2;
    }
    if (!PicasoError.isInstance(error)) throw error;
    const { code, message, details } = error;
    if (json) tell({ code, message, ...details, cause: undefined });
    else process.stderr.write(`picaso: ${message}\n`);
    return code === "bad-argument" ? 2 : 1;
  }
}

process.exitCode = await main();
