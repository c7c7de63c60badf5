/**
 * States as their files keep them, for composing: a file is opened and checked, its large part is read when it is
 * summed, straight into the kernel, and is never whole in memory. Or the file is held in memory that threads share.
 * Needs Node.
 */
import { closeSync, fstatSync, openSync, readSync } from "node:fs";
import { PicasoError } from "../../errors.js";
import { dataSum, dataSumDigits } from "../../state/data-sum.js";
import { safetensorsHeaderSize, type TensorInfo } from "../../state/safetensors.js";
import {
  cannotReadState,
  decodeLogDecay,
  decodeStateFile,
  parseStateLayout,
  wrongSum,
} from "../../state/state-file.js";
import type { StateMetadata } from "../../state/state-header.js";
import type { StateLayout, StoredTensor } from "../../state/state-layout.js";
import type { ComposableState } from "../compose.js";
import type { Term, TermBytes } from "../kernel/job.js";
import { sharedMemory } from "./shared-memory.js";

/** The whole file in memory, or its descriptor and the bytes around ssm. */
type Source = { whole: Held } | { fd: number; before: Held; after: Held };

/** Bytes of a file in memory, and their address where the kernels can read them. */
interface Held {
  bytes: Uint8Array;
  address: number | null;
  /** To be given back when the state is closed. */
  room: number | null;
}

/** What is read of a file at once; headers are far smaller. */
const FIRST_BYTES = 8192;

export class StoredState implements ComposableState {
  readonly fingerprint: string;
  readonly tokens: number;
  readonly shape: ComposableState["shape"];
  readonly logDecay: Float32Array | Float64Array;
  readonly ssm: Term;
  readonly conv: Term;
  private closed = false;

  private constructor(
    /** Path of the file, for messages. */
    readonly where: string,
    readonly metadata: StateMetadata,
    readonly layout: StateLayout,
    private readonly source: Source,
  ) {
    this.fingerprint = metadata.fingerprint;
    this.tokens = metadata.tokens;
    this.shape = layout.shape;
    // A copy: decays are asked for after the state was closed.
    this.logDecay = decodeLogDecay(this.held(layout.logDecay).bytes.slice(), layout.logDecay.dtype, where);
    this.ssm = this.term(layout.ssm, (info) => this.bytesOfSsm(info));
    this.conv = this.term(layout.conv, (info) => forKernel(this.held(info)));
  }

  /** Opens a file; {@link close} it. Throws as `decodeState` for what its header and decays tell, or `not-found`. */
  static open(path: string): StoredState {
    const fd = openFile(path);
    const parts: Held[] = [];
    try {
      const size = fstatSync(fd).size;
      const first = readPart(fd, 0, Math.min(FIRST_BYTES, size), path);
      const headerSize = safetensorsHeaderSize(first.subarray(0, 8), size, path);
      const json =
        8 + headerSize <= first.length ? first.subarray(8, 8 + headerSize) : readPart(fd, 8, headerSize, path);
      const { metadata, layout } = parseStateLayout(json, size, path);
      const ssmStart = startForParts(layout);
      if (ssmStart === null) {
        const whole = StoredState.fromBytes(readPart(fd, 0, size, path), path);
        closeSync(fd);
        return whole;
      }
      const { ssm, dataStart, dataEnd } = layout;
      const [before, after] = [hold(ssmStart - dataStart), hold(dataEnd - ssm.values.end)];
      parts.push(before, after);
      readInto(before.bytes, fd, dataStart, path);
      readInto(after.bytes, fd, ssm.values.end, path);
      return new StoredState(path, metadata, layout, { fd, before, after });
    } catch (error) {
      closeSync(fd);
      release(parts);
      throw error;
    }
  }

  /**
   * The state in the bytes of a file, checked as by `decodeState` but for values. They are copied into the memory that
   * all threads' kernels read, until {@link close}; beyond its 4 GB into other shared memory, and then summed slower.
   */
  static fromBytes(bytes: Uint8Array, where: string): StoredState {
    const size = safetensorsHeaderSize(bytes.subarray(0, 8), bytes.length, where);
    const { metadata, layout } = parseStateLayout(bytes.subarray(8, 8 + size), bytes.length, where);
    const sum = dataSumDigits(dataSum(bytes.subarray(layout.dataStart)));
    if (sum !== metadata.dataSum) throw wrongSum(metadata, sum, where);
    const whole = hold(bytes.length, layout.ssm.values.begin);
    whole.bytes.set(bytes);
    try {
      return new StoredState(where, metadata, layout, { whole });
    } catch (error) {
      release([whole]);
      throw error;
    }
  }

  /** Throws what is wrong with a state that could not be summed to finite values: the values of its file are checked. */
  checkValues(): void {
    const bytes =
      "whole" in this.source ? this.source.whole.bytes : readPart(this.source.fd, 0, this.layout.dataEnd, this.where);
    decodeStateFile(bytes, this.where);
  }

  /** The pieces of the data that stand before and after ssm, for the checksum; null where it is known to be right. */
  aroundSsm(): { before: Uint8Array; after: Uint8Array } | null {
    return "fd" in this.source ? { before: this.source.before.bytes, after: this.source.after.bytes } : null;
  }

  /** Throws `bad-argument` after {@link close}. */
  assertOpen(): void {
    if (!this.closed) return;
    throw new PicasoError("bad-argument", {
      where: `compose, ${this.where}`,
      expected: "a state that is open",
      found: "one that was closed",
      next: "Close states when they have been composed.",
    });
  }

  /** Gives the file or the memory back; the state cannot be summed afterwards. */
  close(): void {
    if (this.closed) return;
    this.closed = true;
    if ("fd" in this.source) closeSync(this.source.fd);
    release("fd" in this.source ? [this.source.before, this.source.after] : [this.source.whole]);
  }

  private term({ values, scales }: StoredTensor, bytesOf: (info: TensorInfo) => TermBytes): Term {
    const { codec } = this.metadata;
    const width = codec === "int8" ? values.shape.at(-1)! : 1;
    return { codec, values: bytesOf(values), scales: scales && bytesOf(scales), width };
  }

  private bytesOfSsm(info: TensorInfo): TermBytes {
    if ("whole" in this.source) return forKernel(this.held(info));
    const { begin, end } = info;
    return { fd: this.source.fd, begin, byteLength: end - begin, dataEnd: this.layout.dataEnd };
  }

  /** A tensor that is held in memory. */
  private held({ begin, end }: TensorInfo): Held {
    if ("whole" in this.source) return partOf(this.source.whole, begin, end);
    const { before, after } = this.source;
    const { dataStart, dataEnd } = this.layout;
    const isBefore = end <= dataStart + before.bytes.length;
    const [part, start] = isBefore ? [before, dataStart] : [after, dataEnd - after.bytes.length];
    return partOf(part, begin - start, end - start);
  }
}

/** Room for bytes of a file in the memory that all kernels read; once that is full, in other shared memory. */
function hold(length: number, aligned = 0): Held {
  // The byte at `aligned` comes to stand at the beginning of a cache line.
  const lead = -aligned & 63;
  const room = sharedMemory.allocate(lead + length);
  if (room === null) return { bytes: new Uint8Array(new SharedArrayBuffer(length)), address: null, room };
  const address = room + lead;
  return { bytes: sharedMemory.bytes(address, length), address, room };
}

function release(parts: readonly Held[]): void {
  for (const { room } of parts) if (room !== null) sharedMemory.release(room);
}

function partOf({ bytes, address }: Held, begin: number, end: number): Held {
  return { bytes: bytes.subarray(begin, end), address: address === null ? null : address + begin, room: null };
}

function forKernel({ bytes, address }: Held): TermBytes {
  return address === null ? bytes : { address, byteLength: bytes.length };
}

/**
 * Offset of the first byte of ssm and its scales, where parts of the file can be summed: the checksum is of 4-byte
 * words, so blocks have to be whole words. That is so for all real models; null for others.
 */
function startForParts({ ssm: { values, scales }, dataStart, shape }: StateLayout): number | null {
  const blockBytes = (values.end - values.begin) / Math.max(1, shape.layers * shape.heads);
  const start = (scales ?? values).begin;
  const isInOrder = scales === null || scales.end === values.begin;
  return isInOrder && blockBytes % 4 === 0 && (start - dataStart) % 4 === 0 ? start : null;
}

function openFile(path: string): number {
  try {
    return openSync(path, "r");
  } catch (cause) {
    throw cannotReadState(path, cause);
  }
}

function readPart(fd: number, position: number, length: number, path: string): Uint8Array {
  const bytes = new Uint8Array(length);
  readInto(bytes, fd, position, path);
  return bytes;
}

function readInto(bytes: Uint8Array, fd: number, position: number, path: string): void {
  const { length } = bytes;
  for (let done = 0; done < length; ) {
    const count = readSync(fd, bytes, done, length - done, position + done);
    if (count > 0) {
      done += count;
      continue;
    }
    throw new PicasoError("bad-file", {
      where: path,
      expected: `${position + length} bytes, as when it was opened`,
      found: `its end at ${position + done}`,
      next: "Run `picaso verify`.",
    });
  }
}
