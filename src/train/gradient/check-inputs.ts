/** What a training step is given, and the check of it. */
import { PicasoError } from "../../errors.js";
import type { Mamba2Config } from "../../model/config.js";
import { parameterShapes } from "../../model/parameters.js";

export interface GradientExample {
  /** Token ids of each context, run from the zero state; may be none. */
  contexts: readonly (readonly number[])[];
  /** Token ids read from the composed state; not scored. At least one: it is what the first target follows. */
  query: readonly number[];
  /** Token ids scored, at least one. */
  target: readonly number[];
}

/** Values of every parameter by its name, row-major; shapes are those of `parameterShapes`. */
export type ParameterValues = ReadonlyMap<string, Float32Array>;

/** Throws `mismatch` for parameters of another model, `bad-argument` for examples that it cannot be trained on. */
export function checkInputs(
  config: Mamba2Config,
  parameters: ParameterValues,
  examples: readonly GradientExample[],
): void {
  const shapes = parameterShapes(config);
  for (const [name, shape] of shapes) {
    const size = shape.reduce((a, b) => a * b, 1);
    const found = parameters.get(name);
    if (found?.length === size) continue;
    throw new PicasoError("mismatch", {
      where: `parameter ${name}`,
      expected: `${size} values for shape [${shape}]`,
      found: found ? `${found.length}` : "none",
      next: "Pass the parameters of the model that the engine was made for.",
    });
  }
  const stranger = [...parameters.keys()].find((name) => !shapes.has(name));
  if (stranger !== undefined) {
    throw new PicasoError("mismatch", {
      where: `parameter ${stranger}`,
      expected: `only the ${shapes.size} parameters of the model`,
      found: "one more",
      next: "Pass the parameters of the model that the engine was made for.",
    });
  }
  if (examples.length === 0) throw badExample("examples", "one or more", "none");
  for (const [e, { contexts, query, target }] of examples.entries()) {
    const parts = [...contexts.map((context, k) => [`contexts[${k}]`, context] as const)];
    for (const [part, tokens] of [...parts, ["query", query] as const, ["target", target] as const]) {
      const where = `examples[${e}].${part}`;
      if (tokens.length === 0 && !part.startsWith("contexts")) throw badExample(where, "at least one token", "none");
      const bad = tokens.find((id) => !Number.isInteger(id) || id < 0 || id >= config.vocabSize);
      if (bad !== undefined) throw badExample(where, `token ids below ${config.vocabSize}`, `${bad}`);
    }
  }
}

function badExample(where: string, expected: string, found: string): PicasoError {
  return new PicasoError("bad-argument", { where, expected, found, next: "Correct what makes the examples." });
}
