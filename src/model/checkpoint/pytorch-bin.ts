/**
 * `pytorch_model.bin`, as torch.save has written it since PyTorch 1.6: a zip archive with a pickle (data.pkl) that
 * describes the tensors and one stored entry for the bytes of each storage. Nothing in the file is executed, and
 * opening it reads its directory and its pickle only.
 */
import { crc32 } from "node:zlib";
import { PicasoError } from "../../errors.js";
import { damaged, notSupported, quote } from "./checkpoint-errors.js";
import { openRandomAccess, type RandomAccess } from "./random-access.js";
import type { TensorSource } from "./tensor-source.js";
import { readStateDict, type StoredTensor } from "./torch-state-dict.js";
import { readZipEntries, type ZipEntry } from "./zip.js";

/** The pickle of the largest Mamba-2 takes 100 kB. */
const maxPickleBytes = 16 << 20;

/** Version of the archive's layout that torch.save writes. */
const archiveVersion = "3";

/** How the format before PyTorch 1.6 begins: a pickled magic number. */
const legacyMagic = Uint8Array.of(0x80, 0x02, 0x8a, 0x0a, 0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19);

/**
 * Opens a file written by torch.save from a state dict. Throws `not-found`, `bad-file` for a damaged file, and
 * `unsupported` for one with compressed entries, big-endian bytes, tensors that are not contiguous, or a pickle that
 * holds anything but tensors by name.
 */
export async function openPytorchBin(path: string): Promise<TensorSource> {
  const file = await openRandomAccess(path);
  try {
    return await readPytorchBin(file, path);
  } catch (error) {
    await file.close();
    throw error;
  }
}

/** The same from bytes that are open already; the source closes `file`. */
export async function readPytorchBin(file: RandomAccess, path: string): Promise<TensorSource> {
  await checkBeginning(file, path);
  const entries = await readZipEntries(file, path);
  const folder = findFolder(entries, path);
  const content = (name: string, most: number) => readSmall(file, entries.get(`${folder}/${name}`), name, most, path);

  const version = decode(await content("version", 16))?.trim();
  if (version !== archiveVersion) {
    const found = version === undefined ? "no such entry" : quote(version);
    throw notSupported(`${path}, version`, `version ${archiveVersion} of torch.save's archive`, found);
  }
  // Absent before PyTorch 2.1, when there were only little-endian files.
  const byteOrder = decode(await content("byteorder", 16));
  if (byteOrder !== undefined && byteOrder !== "little") {
    throw notSupported(`${path}, byteorder`, '"little"', quote(byteOrder));
  }
  const pickle = await content("data.pkl", maxPickleBytes);
  if (!pickle) throw damaged(path, `${folder}/data.pkl`, "no such entry");
  return new PytorchBin(
    file,
    path,
    readStateDict(pickle, (key) => entries.get(`${folder}/data/${key}`), path),
  );
}

class PytorchBin implements TensorSource {
  constructor(
    private readonly file: RandomAccess,
    private readonly path: string,
    readonly tensors: ReadonlyMap<string, StoredTensor>,
  ) {}

  where(name: string): string {
    this.find(name);
    return this.path;
  }

  /** A whole storage read at once is checked against the archive's checksum; other ranges cannot be. */
  async read(name: string, start = 0, end?: number): Promise<Uint8Array> {
    const tensor = this.find(name);
    const stop = end ?? tensor.byteLength;
    const where = `${this.path}, tensor ${quote(name)}`;
    if (!(Number.isSafeInteger(start) && Number.isSafeInteger(stop) && 0 <= start && start <= stop)) {
      throw badRange(tensor, start, stop, where);
    }
    if (stop > tensor.byteLength) throw badRange(tensor, start, stop, where);
    const bytes = await this.file.read(tensor.start + start, tensor.start + stop);
    if (tensor.start + start === tensor.entry.start && bytes.length === tensor.entry.end - tensor.entry.start) {
      checkContent(bytes, tensor.entry, where);
    }
    return bytes;
  }

  close(): Promise<void> {
    return this.file.close();
  }

  private find(name: string): StoredTensor {
    const tensor = this.tensors.get(name);
    if (tensor) return tensor;
    throw new PicasoError("not-found", {
      where: this.path,
      expected: `tensor ${quote(name)}`,
      found: `${this.tensors.size} others`,
      next: "Check that config.json and the weights belong to the same checkpoint.",
    });
  }
}

/** Says what a file is that begins otherwise, where it is one of the things often found in this place. */
async function checkBeginning(file: RandomAccess, path: string): Promise<void> {
  const start = await file.read(0, Math.min(file.byteLength, 64));
  if (startsWith(start, Uint8Array.of(0x50, 0x4b, 0x03, 0x04))) return;
  if (startsWith(start, legacyMagic)) {
    throw notSupported(path, "the zip format of PyTorch 1.6 and later", "the legacy format of torch.save");
  }
  if (startsWith(start, new TextEncoder().encode("version https://git-lfs"))) {
    throw new PicasoError("bad-file", {
      where: path,
      expected: "a file written by torch.save",
      found: "a Git LFS pointer in its place",
      next: "Fetch the real file with `git lfs pull`, or download it from the model's page.",
    });
  }
  throw damaged(path, "a file written by torch.save, which begins as a zip archive", "other bytes");
}

/** All entries lie in one folder, named after the file that torch.save was given. */
function findFolder(entries: ReadonlyMap<string, ZipEntry>, path: string): string {
  const pickles = [...entries.keys()].filter((name) => /^[^/]+\/data\.pkl$/.test(name));
  const [first] = pickles;
  if (first === undefined || pickles.length > 1) {
    throw damaged(path, "one entry FOLDER/data.pkl, as torch.save writes it", `${pickles.length}`);
  }
  return first.slice(0, -"/data.pkl".length);
}

async function readSmall(
  file: RandomAccess,
  entry: ZipEntry | undefined,
  name: string,
  most: number,
  path: string,
): Promise<Uint8Array | undefined> {
  if (!entry) return undefined;
  const where = `${path}, ${name}`;
  const size = entry.end - entry.start;
  if (size > most) throw notSupported(where, `at most ${most} bytes`, `${size}`);
  const bytes = await file.read(entry.start, entry.end);
  checkContent(bytes, entry, where);
  return bytes;
}

function checkContent(bytes: Uint8Array, entry: ZipEntry, where: string): void {
  // torch.serialization.set_crc32_options(False) leaves all checksums at 0.
  if (entry.crc32 === 0) return;
  const found = crc32(bytes);
  if (found !== entry.crc32) throw damaged(where, `content with CRC-32 ${hex(entry.crc32)}`, hex(found));
}

function badRange(tensor: StoredTensor, start: number, end: number, where: string): PicasoError {
  return new PicasoError("bad-argument", {
    where,
    expected: `a range within its ${tensor.byteLength} bytes`,
    found: `[${start}, ${end})`,
    next: "Ask for bytes that the tensor has.",
  });
}

function decode(bytes: Uint8Array | undefined): string | undefined {
  return bytes && new TextDecoder("latin1").decode(bytes);
}

function startsWith(bytes: Uint8Array, prefix: Uint8Array): boolean {
  return bytes.length >= prefix.length && prefix.every((byte, index) => byte === bytes[index]);
}

function hex(value: number): string {
  return `0x${value.toString(16).padStart(8, "0")}`;
}
