/**
 * Compiles the AssemblyScript sources and writes each module into a file beside it as base64, so that the package loads
 * it without reading a file, in browsers too. Run by `npm run build:kernel` after a change to a source.
 */
import { readFile, writeFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import asc from "assemblyscript/asc";
import { PicasoError } from "../../errors.js";

export interface Kernel {
  source: URL;
  generated: URL;
  /** Name of the exported string. */
  constant: string;
  /** Name of a second one: the module for memory that threads share, which WebAssembly tells from other memory. */
  shared?: string;
}

export const kernels: Kernel[] = [
  {
    source: new URL("./weighted-sum.as.ts", import.meta.url),
    generated: new URL("./kernel.generated.ts", import.meta.url),
    constant: "kernelBase64",
    shared: "sharedKernelBase64",
  },
  {
    source: new URL("../../state/data-sum.as.ts", import.meta.url),
    generated: new URL("../../state/data-sum.generated.ts", import.meta.url),
    constant: "dataSumBase64",
    shared: "sharedDataSumBase64",
  },
  {
    source: new URL("../../bench/read-memory.as.ts", import.meta.url),
    generated: new URL("../../bench/read-memory.generated.ts", import.meta.url),
    constant: "readMemoryBase64",
  },
];

const forSharedMemory = ["--sharedMemory", "--maximumMemory", "65536", "--enable", "threads"];

/** Text of the generated file for a source as it is now. Throws `failed` with the compiler's messages. */
export async function generateKernel({ source, constant, shared }: Kernel): Promise<string> {
  const constants = [[constant, await compileKernel(source, [])]];
  if (shared) constants.push([shared, await compileKernel(source, forSharedMemory)]);
  return [
    `/** The compiled ${source.pathname.split("/").at(-1)}; written by build.ts. */`,
    ...constants.map(([name, module]) => `export const ${name} =\n  "${module}";`),
    "",
  ].join("\n");
}

async function compileKernel(source: URL, options: string[]): Promise<string> {
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
      ...options,
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
  return Buffer.from(module).toString("base64");
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  for (const kernel of kernels) await writeFile(kernel.generated, await generateKernel(kernel));
}
