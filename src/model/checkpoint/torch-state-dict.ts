/**
 * The globals of torch.save's pickle, as data: a storage is a zip entry with a type, a tensor a view of a storage.
 * What a tensor claims is checked against the entry's real size when it gets its name.
 */
import { damaged, notSupported, quote } from "./checkpoint-errors.js";
import { readPickle } from "./pickle.js";
import { kindOf, PickleDict, PickleGlobal, PickleObject, PickleTuple, type PickleValue } from "./pickle-values.js";
import { type CheckpointDtype, type CheckpointTensor, dtypeBytes } from "./tensor-source.js";
import type { ZipEntry } from "./zip.js";

/** A tensor of the state dict and where its bytes are. */
export interface StoredTensor extends CheckpointTensor {
  /** The zip entry that holds its storage; tied weights share one. */
  entry: ZipEntry;
  /** Offset in the file of its first byte. */
  start: number;
}

/** The largest weights have 3 dimensions. */
const maxDimensions = 8;
const maxNameLength = 256;

const storageTypes: Record<string, CheckpointDtype> = {
  DoubleStorage: "f64",
  FloatStorage: "f32",
  HalfStorage: "f16",
  BFloat16Storage: "bf16",
  LongStorage: "i64",
  IntStorage: "i32",
  ShortStorage: "i16",
  CharStorage: "i8",
  ByteStorage: "u8",
  BoolStorage: "bool",
};

class StorageType extends PickleGlobal {
  constructor(
    name: string,
    readonly dtype: CheckpointDtype,
  ) {
    super(name);
  }
}

class Storage {
  constructor(
    readonly entry: ZipEntry,
    readonly dtype: CheckpointDtype,
    /** Elements. */
    readonly length: number,
  ) {}
}

/** What `_rebuild_tensor_v2` was given; offset and strides count elements. */
class View {
  constructor(
    readonly storage: Storage,
    readonly offset: number,
    readonly shape: number[],
    readonly strides: number[],
  ) {}
}

/**
 * Reads data.pkl. `storageEntry` finds the zip entry of a storage by its key. Throws `bad-file` or `unsupported`.
 */
export function readStateDict(
  pickle: Uint8Array,
  storageEntry: (key: string) => ZipEntry | undefined,
  path: string,
): Map<string, StoredTensor> {
  const storages = new Map<string, Storage>();
  const host = {
    global: (module: string, name: string) => globals.get(`${module} ${name}`),
    persistent: (id: PickleValue, where: string) => new PickleObject(readStorage(id, storages, storageEntry, where)),
  };
  const root = readPickle(pickle, host, `${path}, data.pkl`);
  if (!(root instanceof PickleDict)) throw notSupported(path, "a state dict", kindOf(root));
  for (const attribute of root.attributes?.entries.keys() ?? []) {
    // torch.nn.Module.state_dict puts the versions of its modules there; they say nothing about the tensors.
    if (attribute !== "_metadata") throw notSupported(path, "a state dict with _metadata only", quote(attribute));
  }
  const tensors = new Map<string, StoredTensor>();
  for (const [name, value] of root.entries) tensors.set(name, nameTensor(name, value, path));
  return tensors;
}

const globals = new Map<string, PickleGlobal>([
  ["collections OrderedDict", new PickleGlobal("collections.OrderedDict", makeOrderedDict)],
  ["torch._utils _rebuild_tensor_v2", new PickleGlobal("torch._utils._rebuild_tensor_v2", makeTensor)],
  ["torch._utils _rebuild_parameter", new PickleGlobal("torch._utils._rebuild_parameter", makeParameter)],
  ...Object.entries(storageTypes).map(
    ([name, dtype]) => [`torch ${name}`, new StorageType(`torch.${name}`, dtype)] as const,
  ),
]);

function makeOrderedDict(args: readonly PickleValue[], where: string): PickleValue {
  if (args.length > 0) throw notSupported(where, "OrderedDict() without arguments", `${args.length} of them`);
  return new PickleDict(true);
}

/** `_rebuild_tensor_v2(storage, offset, shape, strides, requires_grad, backward_hooks)` */
function makeTensor(args: readonly PickleValue[], where: string): PickleValue {
  const [storage, offset, shape, strides, requiresGrad, hooks] = args;
  const sizes = readIntegers(shape);
  const steps = readIntegers(strides);
  if (
    args.length !== 6 ||
    !(storage instanceof PickleObject && storage.value instanceof Storage) ||
    !isCount(offset) ||
    sizes?.length !== steps?.length ||
    sizes === undefined ||
    steps === undefined ||
    typeof requiresGrad !== "boolean" ||
    !isEmptyDict(hooks)
  ) {
    const expected = "(storage, offset, shape, strides, requires_grad, no hooks) with whole numbers from 0";
    throw damaged(where, expected, `(${args.slice(0, 8).map(describe).join(", ")})`);
  }
  if (sizes.length > maxDimensions) throw notSupported(where, `${maxDimensions} dimensions`, `${sizes.length}`);
  return new PickleObject(new View(storage.value, offset, sizes, steps));
}

/** `_rebuild_parameter(tensor, requires_grad, backward_hooks)` */
function makeParameter(args: readonly PickleValue[], where: string): PickleValue {
  const [tensor, requiresGrad, hooks] = args;
  if (args.length !== 3 || !isTensor(tensor) || typeof requiresGrad !== "boolean" || !isEmptyDict(hooks)) {
    throw damaged(where, "(tensor, requires_grad, no hooks)", `(${args.slice(0, 8).map(describe).join(", ")})`);
  }
  return tensor;
}

/** The persistent id `("storage", type, key, device, length)`; the device is where it was, and of no interest. */
function readStorage(
  id: PickleValue,
  known: Map<string, Storage>,
  storageEntry: (key: string) => ZipEntry | undefined,
  where: string,
): Storage {
  const [kind, type, key, device, length] = id instanceof PickleTuple ? id.items : [];
  if (
    !(id instanceof PickleTuple && id.items.length === 5) ||
    kind !== "storage" ||
    !(type instanceof StorageType) ||
    typeof key !== "string" ||
    typeof device !== "string" ||
    !isCount(length)
  ) {
    throw damaged(where, 'a reference ("storage", type, key, device, length)', kindOf(id));
  }
  const entry = storageEntry(key);
  if (!entry) throw damaged(where, `storage ${quote(key)} in the archive`, "none");
  const { dtype } = type;
  const bytes = length * dtypeBytes[dtype];
  if (bytes !== entry.end - entry.start) {
    const found = `${entry.end - entry.start} bytes of storage ${quote(key)}`;
    throw damaged(where, `${length} elements of ${dtype}, ${bytes} bytes`, found);
  }
  const before = known.get(key);
  if (before && before.dtype !== dtype) {
    throw damaged(where, `storage ${quote(key)} as ${before.dtype}, as before`, dtype);
  }
  const storage = before ?? new Storage(entry, dtype, length);
  known.set(key, storage);
  return storage;
}

function nameTensor(name: string, value: PickleValue, path: string): StoredTensor {
  const where = `${path}, tensor ${quote(name)}`;
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
  if (name.length === 0 || name.length > maxNameLength || /[\u0000-\u001f\u007f]/.test(name)) {
    throw notSupported(where, `a name of 1 to ${maxNameLength} printable characters`, quote(name));
  }
  if (!isTensor(value)) throw notSupported(where, "a tensor, as in a plain state dict", kindOf(value));
  const { storage, offset, shape, strides } = value.value;
  const elements = countElements(shape, storage.length - offset);
  if (elements === undefined) {
    const found = `[${shape}] from element ${offset} of ${storage.length}`;
    throw damaged(where, "a tensor within its storage", found);
  }
  if (elements > 0 && !isContiguous(shape, strides)) {
    throw notSupported(where, "contiguous rows", `shape [${shape}] with strides [${strides}]`);
  }
  const { dtype, entry } = storage;
  const byteLength = elements * dtypeBytes[dtype];
  return { name, dtype, shape, byteLength, entry, start: entry.start + offset * dtypeBytes[dtype] };
}

/** Product of the shape; undefined when it is above `most`, which it then never overflows. */
function countElements(shape: readonly number[], most: number): number | undefined {
  if (most < 0) return undefined;
  if (shape.includes(0)) return 0;
  let product = 1;
  for (const size of shape) {
    if (size > most / product) return undefined;
    product *= size;
  }
  return product <= most ? product : undefined;
}

/** Row-major without gaps. The stride of a dimension of size 1 is never used, and PyTorch leaves any value there. */
function isContiguous(shape: readonly number[], strides: readonly number[]): boolean {
  let step = 1;
  for (let i = shape.length - 1; i >= 0; i--) {
    if (shape[i] === 1) continue;
    if (strides[i] !== step) return false;
    step *= shape[i]!;
  }
  return true;
}

function isTensor(value: PickleValue | undefined): value is PickleObject<View> {
  return value instanceof PickleObject && value.value instanceof View;
}

function isEmptyDict(value: PickleValue | undefined): boolean {
  return value instanceof PickleDict && value.entries.size === 0;
}

function isCount(value: PickleValue | undefined): value is number {
  return typeof value === "number" && value >= 0;
}

function readIntegers(value: PickleValue | undefined): number[] | undefined {
  if (!(value instanceof PickleTuple)) return undefined;
  return value.items.every(isCount) ? [...(value.items as readonly number[])] : undefined;
}

/** An argument for messages: small tuples of numbers in full. */
function describe(value: PickleValue): string {
  if (!(value instanceof PickleTuple) || value.items.length > maxDimensions) return kindOf(value);
  return `(${value.items.map(kindOf).join(", ")})`;
}
