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
  /** Whether the first one is for such memory. */
  isShared?: boolean;
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
  {
    source: new URL("../../model/decode/decode.as.ts", import.meta.url),
    generated: new URL("../../model/decode/decode.generated.ts", import.meta.url),
    constant: "decodeBase64",
    isShared: true,
  },
];

// A shared memory must say how large it may become.
const forSharedMemory = ["--enable", "threads", "--sharedMemory", "--initialMemory", "1", "--maximumMemory", "65536"];

/** Text of the generated file for a source as it is now. Throws `failed` with the compiler's messages. */
export async function generateKernel({ source, constant, shared, isShared }: Kernel): Promise<string> {
  const constants = [[constant, await compileKernel(source, isShared ? forSharedMemory : [])]];
  if (shared) constants.push([shared, await compileKernel(source, forSharedMemory)]);
  return [
    `/** The compiled ${source.pathname.split("/").at(-1)}; written by build.ts. */`,
    ...constants.map(([name, module]) => `export const ${name} =\n  "${module}";`),
    "",
  ].join("\n");
}

async function compileKernel(source: URL, options: string[]): Promise<string> {
  const name = source.pathname.split("/").at(-1)!;
  let module: Uint8Array | undefined;
  const { error, stderr } = await asc.main(
    [
      name,
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
      // What it imports stands beside it; asc asks for other places too.
      readFile: (path) => (path.endsWith(".as.ts") ? readFile(new URL(path, source), "utf8") : null),
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
