import { Command } from "commander";
import { bytes, table } from "./format.js";
import { type GlobalOptions, loadModel, reporterFor } from "./globals.js";

export function modelCommand(): Command {
  return new Command("model")
    .description("look at a model, or prepare it for use")
    .addCommand(inspectCommand())
    .addCommand(compileCommand());
}

function inspectCommand(): Command {
  return new Command("inspect")
    .description("what a model folder holds, its fingerprint and the size of its states")
    .argument("[dir]", "model folder, or org/name on the hub (default: --model)")
    .action(async (directory: string | undefined, _: unknown, command: Command) => {
      const flags = command.optsWithGlobals<GlobalOptions>();
      const reporter = reporterFor(flags);
      const [{ inspectModel }, { bundledModel }] = await Promise.all([
        import("../model/inspect.js"),
        import("../model/bundled.js"),
      ]);
      const report = await inspectModel(directory ?? flags.model ?? bundledModel, {
        offline: flags.offline,
        onProgress: ({ done, total }) => reporter.progress("downloading", { done, total, unit: "bytes" }),
      });
      reporter.progressDone();
      const { config: c, state } = report;
      const rows = [
        ["folder", report.directory],
        ["fingerprint", report.fingerprint],
        ["parameters", `${report.parameters.toLocaleString("en")} in ${report.dtypes.join(", ")}`],
        ["layers", `${c.layers} of width ${c.hiddenSize}, inner width ${c.innerSize}`],
        ["heads", `${c.heads} of ${c.headDim}, state size ${c.stateSize}, ${c.groups} group${c.groups > 1 ? "s" : ""}`],
        ["vocabulary", `${c.vocabSize.toLocaleString("en")}${c.tiedEmbeddings ? ", tied embeddings" : ""}`],
        ["time steps", timeSteps(c.timeStepLimit)],
        ["one state", `${bytes(state.f32)} as f32, ${bytes(state.bf16)} as bf16, ${bytes(state.int8)} as int8`],
        ["decoding", `${decoding(report.decoder)} beside the model itself`],
        ["question", JSON.stringify(report.form.questionTemplate)],
        ["compiled", report.compiled ?? "not yet"],
      ];
      reporter.result(report, table(rows));
    });
}

function decoding(decoder: Record<string, number | null>): string {
  const each = Object.entries(decoder).map(
    ([dtype, size]) => `${size === null ? "by ONNX Runtime" : bytes(size)} as ${dtype}`,
  );
  return each.join(", ");
}

function timeSteps([least, most]: readonly [number, number]): string {
  return most === Number.POSITIVE_INFINITY ? `from ${least}, no upper limit` : `${least} to ${most}`;
}

function compileCommand(): Command {
  return new Command("compile")
    .description("write the model's graph into the cache now rather than at its first use")
    .argument("[dir]", "model folder (default: --model)")
    .action(async (directory: string | undefined, _: unknown, command: Command) => {
      const flags = command.optsWithGlobals<GlobalOptions>();
      const reporter = reporterFor(flags);
      const model = await loadModel({ ...flags, model: directory ?? flags.model }, reporter);
      const { compiledFolder } = await import("../model/compile.js");
      const folder = compiledFolder(model.fingerprint, flags.dtype);
      reporter.result({ fingerprint: model.fingerprint, folder }, `Compiled into ${folder}.\n`);
      await model.dispose();
    });
}
