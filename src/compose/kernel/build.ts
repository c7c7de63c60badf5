/**
 * Compiles weighted-sum.as.ts with AssemblyScript and writes the module into kernel.generated.ts as base64, so that the
 * package loads it without reading a file, in browsers too. Run by `npm run build:kernel` after a change to the source.
 */
import { readFile, writeFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import asc from "assemblyscript/asc";
import { PicasoError } from "../../errors.js";

const source = new URL("./weighted-sum.as.ts", import.meta.url);
const generated = new URL("./kernel.generated.ts", import.meta.url);

/** Text of kernel.generated.ts for the source as it is now. Throws `failed` with the compiler's messages. */
export async function generateKernel(): Promise<string> {
  const text = await readFile(source, "utf8");
  let module: Uint8Array | undefined;
  const { error, stderr } = await asc.main(
    [
      "kernel.ts",
      "--outFile",
      "kernel.wasm",
      "-O3",
      "--noAssert",
      "--runtime",
      "stub",
      "--enable",
      "simd",
      "--importMemory",
    ],
    {
      readFile: (name) => (name === "kernel.ts" ? text : null),
      writeFile: (name, contents) => {
        if (name === "kernel.wasm") module = contents as Uint8Array;
      },
      listFiles: () => [],
    },
  );
  if (error !== null || module === undefined) {
    throw new PicasoError("failed", {
      where: fileURLToPath(source),
      expected: "AssemblyScript that compiles",
      found: stderr.toString(),
      next: "Correct the source.",
      cause: error,
    });
  }
  return [
    "/** The compiled weighted-sum.as.ts; written by build.ts. */",
    "export const kernelBase64 =",
    `  "${Buffer.from(module).toString("base64")}";`,
    "",
  ].join("\n");
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await writeFile(generated, await generateKernel());
