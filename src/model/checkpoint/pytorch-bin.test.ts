import { mkdtemp, readFile, rm, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { checkpointEntries, dictPickle, p, tensorCall, WatchedFile, zip } from "../../../test/helpers/torch-archive.js";
import { PicasoError } from "../../errors.js";
import { openPytorchBin, readPytorchBin } from "./pytorch-bin.js";

const fixtures = join(import.meta.dirname, "../../../test/fixtures/pytorch-bin");

interface Expected {
  tensors?: Record<string, { dtype: string; shape: number[]; hex: string }>;
  refused?: { code: string; found: string };
  bytes?: number;
  elements?: number;
}
const expected: Record<string, Expected> = JSON.parse(await readFile(join(fixtures, "expected.json"), "utf8"));

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "picaso-pytorch-bin-"));
});
afterAll(() => rm(folder, { recursive: true }));

const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString("hex");

async function failure(promise: Promise<unknown>): Promise<PicasoError> {
  const error = await promise.then(
    () => undefined,
    (cause: unknown) => cause,
  );
  expect(error).toBeInstanceOf(PicasoError);
  return error as PicasoError;
}

describe("files written by torch.save", () => {
  const named = Object.entries(expected).filter(([, { bytes }]) => bytes === undefined);
  const readable = named.filter(([, { tensors }]) => tensors);

  it("has fixtures of both kinds", () => {
    expect(readable.length).toBeGreaterThanOrEqual(9);
    expect(named.length - readable.length).toBeGreaterThanOrEqual(7);
  });

  it.each(readable)("reads %s as PyTorch had it in memory", async (name, { tensors }) => {
    const source = await openPytorchBin(join(fixtures, `${name}.bin`));
    expect([...source.tensors.keys()]).toEqual(Object.keys(tensors!));
    for (const [key, { dtype, shape, hex: content }] of Object.entries(tensors!)) {
      expect(source.tensors.get(key)).toMatchObject({ name: key, dtype, shape, byteLength: content.length / 2 });
      const bytes = await source.read(key);
      expect(hex(bytes), key).toBe(content);
      expect(bytes.byteOffset).toBe(0);
      expect(bytes.buffer.byteLength).toBe(bytes.length);
    }
    await source.close();
  });

  it.each(named.filter(([, { refused }]) => refused))("refuses %s", async (name, { refused }) => {
    const path = join(fixtures, `${name}.bin`);
    const error = await failure(openPytorchBin(path));
    expect(error.code).toBe(refused!.code);
    expect(error.details.found).toContain(refused!.found);
    expect(error.details.where.startsWith(path)).toBe(true);
    expect(error.details.next).toContain("safetensors");
  });

  it("reads a file of more than 4 GiB without loading it", async () => {
    const [head, tail] = await Promise.all(["head", "tail"].map((end) => readFile(join(fixtures, `zip64.${end}`))));
    const { bytes: size, elements, tensors } = expected.zip64!;
    const file = new WatchedFile(size!, (start, end) => {
      const bytes = new Uint8Array(end - start);
      for (const [part, at] of [[head!, 0] as const, [tail!, size! - tail!.length] as const]) {
        const [from, to] = [Math.max(start, at), Math.min(end, at + part.length)];
        if (from < to) bytes.set(part.subarray(from - at, to - at), from - start);
      }
      return bytes;
    });
    const source = await readPytorchBin(file, "zip64.bin");
    expect(file.bytesRead).toBeLessThan(5000);
    const big = source.tensors.get("big")!;
    expect(big).toMatchObject({ dtype: "bf16", shape: [elements], byteLength: 2 * elements! });
    expect(hex(await source.read("big", 0, 4))).toBe("a0400000");
    expect(hex(await source.read("big", big.byteLength - 4))).toBe("0000e040");
    expect(hex(await source.read("small"))).toBe(tensors!.small!.hex);
  });

  it("keeps tied weights apart by name and together in the file", async () => {
    const file = WatchedFile.of(await readFile(join(fixtures, "mamba-ssm.bin")));
    const source = await readPytorchBin(file, "mamba-ssm.bin");
    const before = file.bytesRead;
    const head = await source.read("lm_head.weight");
    expect(head).toEqual(await source.read("backbone.embedding.weight"));
    expect(file.bytesRead - before).toBe(2 * head.length);
  });
});

describe("a source", () => {
  const path = join(fixtures, "shared.bin");

  it("reads ranges of bytes", async () => {
    const source = await openPytorchBin(path);
    const whole = await source.read("middle");
    expect(await source.read("middle", 4, 12)).toEqual(whole.slice(4, 12));
    expect(await source.read("middle", 40)).toEqual(whole.slice(40));
    expect(await source.read("middle", 48)).toEqual(new Uint8Array());
    await source.close();
  });

  it.each([
    [-1, 4],
    [0, 49],
    [8, 4],
    [0.5, 4],
    [0, Number.NaN],
    [49, 49],
  ])("refuses the range [%d, %d) of 48 bytes", async (start, end) => {
    const source = await openPytorchBin(path);
    const error = await failure(source.read("middle", start, end));
    expect(error.code).toBe("bad-argument");
    expect(error.message).toContain('tensor "middle"');
    await source.close();
  });

  it("says where a tensor is, and which do not exist", async () => {
    const source = await openPytorchBin(path);
    expect(source.where("middle")).toBe(path);
    expect(() => source.where("centre")).toThrow(PicasoError);
    expect((await failure(source.read("toString"))).code).toBe("not-found");
    await source.close();
  });

  it("can be closed twice and not read after", async () => {
    const source = await openPytorchBin(path);
    await source.close();
    await source.close();
    expect((await failure(source.read("middle"))).code).toBe("bad-argument");
  });

  it("notices that the file was cut while open", async () => {
    const cut = join(folder, "cut.bin");
    await writeFile(cut, await readFile(path));
    const source = await openPytorchBin(cut);
    await truncate(cut, 200);
    const error = await failure(source.read("middle"));
    expect(error.code).toBe("bad-file");
    await source.close();
  });

  it("checks a whole storage against its checksum", async () => {
    const data = new Uint8Array(24).fill(7);
    const entries = checkpointEntries(dictPickle([p.text("w"), tensorCall()]), { 0: data });
    entries[2]!.crc = 0x12345678;
    const source = await readPytorchBin(WatchedFile.of(zip(entries)), "x.bin");
    const error = await failure(source.read("w"));
    expect(error.code).toBe("bad-file");
    expect(error.message).toMatch(/tensor "w".*0x12345678/);
    // A part cannot be checked; it is read as it stands.
    expect(await source.read("w", 0, 4)).toEqual(data.slice(0, 4));
  });
});

describe("what is no such file", () => {
  it("says that there is none", async () => {
    const error = await failure(openPytorchBin(join(folder, "none.bin")));
    expect(error.code).toBe("not-found");
  });

  it("names a folder", async () => {
    const error = await failure(openPytorchBin(folder));
    expect(error.code).toBe("bad-file");
    expect(error.details.found).toBe("a directory");
  });

  it("names a Git LFS pointer", async () => {
    const pointer = join(folder, "pointer.bin");
    await writeFile(pointer, "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 4\n");
    const error = await failure(openPytorchBin(pointer));
    expect(error.details.next).toContain("git lfs pull");
  });

  it.each(["", "PK", "<!doctype html><title>404</title>"])("refuses %j", async (text) => {
    const other = join(folder, "other.bin");
    await writeFile(other, text);
    expect((await failure(openPytorchBin(other))).code).toBe("bad-file");
  });
});
