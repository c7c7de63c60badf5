#!/usr/bin/env node
/** The command line: defines the verbs, runs one, and turns errors into exit codes (1 failed, 2 bad usage). */
import { readFileSync } from "node:fs";
import { Command, CommanderError } from "commander";
import { PicasoError } from "../errors.js";
import { askCommand } from "./ask.js";
import { doctorCommand } from "./doctor.js";
import { evalCommand } from "./eval.js";
import { gcCommand } from "./gc.js";
import { addGlobalOptions } from "./globals.js";
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
  picaso ask "Who built it?"      answer from them`;

function program(): Command {
  const root = new Command("picaso")
    .description(introduction)
    .version(version)
    .configureHelp({ showGlobalOptions: true })
    .showHelpAfterError("Run the command with --help to see what it takes.")
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
  try {
    await program().parseAsync(process.argv);
    return process.exitCode === undefined ? 0 : Number(process.exitCode);
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2;
    if (!PicasoError.isInstance(error)) throw error;
    if (process.argv.includes("--json")) {
      process.stderr.write(`${JSON.stringify({ error: { code: error.code, ...error.details, cause: undefined } })}\n`);
    } else {
      process.stderr.write(`picaso: ${error.message}\n`);
    }
    return error.code === "bad-argument" ? 2 : 1;
  }
}

process.exitCode = await main();
