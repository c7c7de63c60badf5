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
  /** Whether several threads run it over one memory. */
  shared?: boolean;
}

export const kernels: Kernel[] = [
  {
    source: new URL("./weighted-sum.as.ts", import.meta.url),
    generated: new URL("./kernel.generated.ts", import.meta.url),
    constant: "kernelBase64",
  },
  {
    source: new URL("../../state/data-sum.as.ts", import.meta.url),
    generated: new URL("../../state/data-sum.generated.ts", import.meta.url),
    constant: "dataSumBase64",
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
    shared: true,
  },
];

/** Text of the generated file for a source as it is now. Throws `failed` with the compiler's messages. */
export async function generateKernel({ source, constant, shared = false }: Kernel): Promise<string> {
  const name = source.pathname.split("/").at(-1)!;
  // A shared memory must say how large it may become.
  const threads = ["--enable", "threads", "--sharedMemory", "--initialMemory", "1", "--maximumMemory", "65536"];
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
      ...(shared ? threads : []),
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
  return [
    `/** The compiled ${name}; written by build.ts. */`,
    `export const ${constant} =`,
    `  "${Buffer.from(module).toString("base64")}";`,
    "",
  ].join("\n");
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  for (const kernel of kernels) await writeFile(kernel.generated, await generateKernel(kernel));
}
