/** Options that every command takes, each with a twin in the environment; the flag wins. */
import { type Command, InvalidArgumentError, Option } from "commander";
import { PicasoError } from "../errors.js";
import { type Device, devices } from "../model/device.js";
import type { LanguageModel } from "../model/language-model.js";
import { type WeightDtype, weightDtypes } from "../model/quantize.js";
import type { StateStore } from "../store/store.js";
import { Reporter } from "./reporter.js";

export interface GlobalOptions {
  store: string;
  model?: string;
  dtype: WeightDtype;
  device: Device;
  threads?: number;
  json?: boolean;
  quiet?: boolean;
  offline?: boolean;
}

export function addGlobalOptions(root: Command): void {
  const option = (flags: string, text: string, name: string) => new Option(flags, text).env(`PICASO_${name}`);
  root
    .addOption(option("--store <dir>", "folder of the state database", "STORE").default(".picaso").argParser(notEmpty))
    .addOption(option("--model <dir>", "model folder, or org/name on the hub (default: the bundled one)", "MODEL"))
    .addOption(option("--dtype <type>", "form of the weights", "DTYPE").choices(weightDtypes).default("f32"))
    .addOption(
      option("--device <device>", "where the model runs, or is trained", "DEVICE").choices(devices).default("cpu"),
    )
    .addOption(
      option("--threads <n>", "threads of the engine (default: all cores)", "THREADS").argParser(wholeNumber(1, 256)),
    )
    .addOption(option("--json", "results as JSON, progress as JSON lines", "JSON"))
    .addOption(option("--quiet", "no progress and no remarks", "QUIET"))
    .addOption(option("--offline", "never ask the network", "OFFLINE"));
}

const switches = ["JSON", "QUIET", "OFFLINE"].map((name) => `PICASO_${name}`);

/**
 * Makes the options' twins in the environment mean what they seem to: empty ones are unset, and 0, false, no and off
 * turn a switch off. Throws `bad-argument` for a switch of another value.
 */
export function readEnvironment(environment: NodeJS.ProcessEnv): void {
  for (const [name, value] of Object.entries(environment)) {
    if (!name.startsWith("PICASO_")) continue;
    if (value?.trim() === "") delete environment[name];
    else if (switches.includes(name)) readSwitch(environment, name, value!.trim().toLowerCase());
  }
}

function readSwitch(environment: NodeJS.ProcessEnv, name: string, value: string): void {
  if (["0", "false", "no", "off"].includes(value)) delete environment[name];
  else if (!["1", "true", "yes", "on"].includes(value)) {
    throw new PicasoError("bad-argument", {
      where: name,
      expected: "1 or 0",
      found: JSON.stringify(value),
      next: "Set it to 1, or unset it.",
    });
  }
}

/** The signal that Ctrl-C or a request to terminate fires; a second one ends the process at once. */
export function interruptSignal(): AbortSignal {
  const controller = new AbortController();
  for (const name of ["SIGINT", "SIGTERM"] as const) process.once(name, () => controller.abort());
  return controller.signal;
}

export function reporterFor(globals: GlobalOptions): Reporter {
  return new Reporter(globals);
}

/** Loads the model that the options name, showing the first compilation. */
export async function loadModel(globals: GlobalOptions, reporter: Reporter): Promise<LanguageModel> {
  const { dtype, device, threads, offline } = globals;
  const [{ LanguageModel }, { bundledModel }] = await Promise.all([
    import("../model/language-model.js"),
    import("../model/bundled.js"),
  ]);
  const model = await LanguageModel.load(globals.model ?? bundledModel, {
    dtype,
    device,
    threads,
    offline,
    onProgress: ({ phase, done, total }) =>
      reporter.progress(phase === "compile" ? "compiling the model" : "downloading", { done, total, unit: "bytes" }),
  });
  reporter.progressDone();
  return model;
}

/** Opens the store that the options name, which must exist, without a model. */
export async function openStore(globals: GlobalOptions): Promise<StateStore> {
  const { StateStore } = await import("../store/store.js");
  return StateStore.open(globals.store);
}

/** A commander parser for whole numbers from `least` to `most`. */
export function wholeNumber(least: number, most = Number.MAX_SAFE_INTEGER): (text: string) => number {
  return (text) => {
    const value = text.trim() === "" ? Number.NaN : Number(text);
    if (!Number.isSafeInteger(value) || value < least || value > most) {
      const range = most === Number.MAX_SAFE_INTEGER ? `from ${least}` : `from ${least} to ${most}`;
      throw new InvalidArgumentError(`expected a whole number ${range}.`);
    }
    return value;
  };
}

function notEmpty(text: string): string {
  if (text.trim() === "") throw new InvalidArgumentError("expected the path of a folder.");
  return text;
}

/** A commander parser for numbers in a range, both ends included. */
export function numberWithin(least: number, most: number): (text: string) => number {
  return (text) => {
    const value = text.trim() === "" ? Number.NaN : Number(text);
    if (!(value >= least && value <= most)) {
      throw new InvalidArgumentError(`expected a number from ${least} to ${most}.`);
    }
    return value;
  };
}
