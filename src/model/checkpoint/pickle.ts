/**
 * A pickle read as data. It is a program for a small stack machine; this one has only the opcodes that a state dict
 * of tensors needs, imports nothing and runs nothing: a global is a name that the host knows or the file is refused.
 * It goes forward over the bytes once and nothing recurses, so that the work is bounded by the file's size.
 */
import { quote } from "./checkpoint-errors.js";
import { describeOpcode, op } from "./pickle-opcodes.js";
import { PickleReader } from "./pickle-reader.js";
import { kindOf, PickleDict, PickleGlobal, PickleTuple, type PickleValue } from "./pickle-values.js";

export interface PickleHost {
  /** What a name stands for; undefined when it is refused. */
  global(module: string, name: string): PickleGlobal | undefined;
  /** The object outside the pickle that `id` refers to. Throws when there is none. */
  persistent(id: PickleValue, where: string): PickleValue;
}

/**
 * A tensor takes about 35 opcodes and 10 places in the memo, and a released checkpoint has under 1,000 tensors nested
 * 4 deep. Python's pickler puts at most 1,000 pairs on the stack at once.
 */
export const pickleLimits = { opcodes: 1 << 20, stack: 1 << 14, memo: 1 << 18, marks: 16, depth: 16 } as const;

/** Reads `bytes`, a whole pickle of protocol 2 to 5. Throws `bad-file` or `unsupported`, naming the byte in question. */
export function readPickle(bytes: Uint8Array, host: PickleHost, where: string): PickleValue {
  return new PickleMachine(new PickleReader(bytes, where), host).run();
}

class PickleMachine {
  private readonly stack: PickleValue[] = [];
  /** Lengths of the stack at each open MARK. */
  private readonly marks: number[] = [];
  private readonly memo = new Map<number, PickleValue>();

  /** What each opcode does; others are refused. */
  private readonly steps: Partial<Record<number, () => void>> = {
    [op.FRAME]: () => this.enterFrame(),
    [op.MARK]: () => this.mark(),
    [op.NEWTRUE]: () => this.push(true),
    [op.NEWFALSE]: () => this.push(false),
    [op.BININT]: () => this.push(this.reader.int32()),
    [op.BININT1]: () => this.push(this.reader.uint8()),
    [op.BININT2]: () => this.push(this.reader.uint16()),
    [op.LONG1]: () => this.push(this.reader.long()),
    [op.BINUNICODE]: () => this.push(this.reader.string(this.reader.uint32())),
    [op.SHORT_BINUNICODE]: () => this.push(this.reader.string(this.reader.uint8())),
    [op.EMPTY_TUPLE]: () => this.pushTuple([]),
    [op.TUPLE1]: () => this.pushTuple(this.popMany(1)),
    [op.TUPLE2]: () => this.pushTuple(this.popMany(2)),
    [op.TUPLE3]: () => this.pushTuple(this.popMany(3)),
    [op.TUPLE]: () => this.pushTuple(this.popToMark()),
    [op.EMPTY_DICT]: () => this.push(new PickleDict(false)),
    [op.SETITEM]: () => this.setItems(this.popMany(2)),
    [op.SETITEMS]: () => this.setItems(this.popToMark()),
    [op.BUILD]: () => this.build(),
    [op.GLOBAL]: () => this.pushGlobal(this.reader.line(), this.reader.line()),
    [op.STACK_GLOBAL]: () => this.pushGlobal(...this.popMany(2)),
    [op.REDUCE]: () => this.reduce(),
    [op.BINPERSID]: () => this.push(this.host.persistent(this.popMany(1)[0]!, this.reader.where())),
    [op.BINPUT]: () => this.memoize(this.reader.uint8()),
    [op.LONG_BINPUT]: () => this.memoize(this.reader.uint32()),
    [op.MEMOIZE]: () => this.memoize(this.memo.size),
    [op.BINGET]: () => this.recall(this.reader.uint8()),
    [op.LONG_BINGET]: () => this.recall(this.reader.uint32()),
  };

  constructor(
    private readonly reader: PickleReader,
    private readonly host: PickleHost,
  ) {}

  run(): PickleValue {
    const { reader } = this;
    if (reader.opcode() !== op.PROTO) throw reader.damage("a pickle of protocol 2 to 5", "no protocol at its start");
    const protocol = reader.uint8();
    if (protocol < 2 || protocol > 5) throw reader.refuse("a pickle of protocol 2 to 5", `protocol ${protocol}`);
    for (let count = 0; count < pickleLimits.opcodes; count++) {
      const code = reader.opcode();
      if (code === op.STOP) return this.stop();
      const step = this.steps[code];
      if (!step) throw reader.refuse("only the opcodes that a state dict needs", `opcode ${describeOpcode(code)}`);
      step();
    }
    throw reader.refuse(`at most ${pickleLimits.opcodes} opcodes`, "more");
  }

  private stop(): PickleValue {
    const { stack, marks, reader } = this;
    const [result] = stack;
    if (result === undefined || stack.length > 1 || marks.length > 0) {
      throw reader.damage("one value at the end", `${stack.length}, with ${marks.length} open marks`);
    }
    if (reader.left > 0) throw reader.damage("the end of the pickle", `${reader.left} bytes more`);
    return result;
  }

  private enterFrame(): void {
    const length = this.reader.uint64();
    if (length <= BigInt(this.reader.left)) return;
    throw this.reader.damage(`a frame within the ${this.reader.left} bytes left`, `one of ${length}`);
  }

  private mark(): void {
    if (this.marks.length === pickleLimits.marks) {
      throw this.reader.refuse(`at most ${pickleLimits.marks} open marks`, "more");
    }
    this.marks.push(this.stack.length);
  }

  private push(value: PickleValue): void {
    if (this.stack.length === pickleLimits.stack) {
      throw this.reader.refuse(`at most ${pickleLimits.stack} values on the stack`, "more");
    }
    this.stack.push(value);
  }

  /** The top `count` values, in the order they were pushed; those under an open mark are out of reach. */
  private popMany(count: number): PickleValue[] {
    const above = this.stack.length - (this.marks.at(-1) ?? 0);
    if (above < count) throw this.reader.damage(`${count} values on the stack`, `${above}`);
    return this.stack.splice(this.stack.length - count);
  }

  private popToMark(): PickleValue[] {
    const mark = this.marks.pop();
    if (mark === undefined) throw this.reader.damage("an open mark", "none");
    return this.stack.splice(mark);
  }

  private top(): PickleValue {
    const value = this.stack.length > (this.marks.at(-1) ?? 0) ? this.stack.at(-1) : undefined;
    if (value === undefined) throw this.reader.damage("a value on the stack", "none");
    return value;
  }

  private pushTuple(items: PickleValue[]): void {
    const depth = items.reduce<number>((deepest, item) => Math.max(deepest, this.place(item)), 1);
    this.push(new PickleTuple(items, depth));
  }

  private setItems(pairs: PickleValue[]): void {
    const dict = this.top();
    if (!(dict instanceof PickleDict)) throw this.reader.damage("a dict to set items of", kindOf(dict));
    if (pairs.length % 2 === 1) throw this.reader.damage("keys and values in pairs", `${pairs.length} values`);
    for (let i = 0; i < pairs.length; i += 2) {
      const [key, value] = [pairs[i], pairs[i + 1]!];
      if (typeof key !== "string") throw this.reader.refuse("strings as keys", kindOf(key));
      if (dict.entries.has(key)) throw this.reader.damage("each key once", `${quote(key)} twice`);
      this.placeInDict(dict, value);
      dict.entries.set(key, value);
    }
  }

  private build(): void {
    const [state] = this.popMany(1);
    const object = this.top();
    if (!(object instanceof PickleDict && object.ordered && object.attributes === undefined)) {
      throw this.reader.refuse("attributes given to an OrderedDict, once", `BUILD on ${kindOf(object)}`);
    }
    if (!(state instanceof PickleDict)) throw this.reader.refuse("a dict of attributes", kindOf(state));
    this.placeInDict(object, state);
    object.attributes = state;
  }

  private placeInDict(dict: PickleDict, value: PickleValue): void {
    const depth = this.place(value);
    if (dict.sealed) throw this.reader.refuse("a dict that is complete before it is placed", "one that changes later");
    dict.depth = Math.max(dict.depth, depth);
  }

  /** Seals a value that goes into a container, and says how deep this makes the container. */
  private place(value: PickleValue): number {
    if (value instanceof PickleDict) value.sealed = true;
    const depth = value instanceof PickleDict || value instanceof PickleTuple ? value.depth + 1 : 1;
    if (depth > pickleLimits.depth) {
      throw this.reader.refuse(`values nested at most ${pickleLimits.depth} deep`, "deeper ones");
    }
    return depth;
  }

  private pushGlobal(module?: PickleValue, name?: PickleValue): void {
    if (typeof module !== "string" || typeof name !== "string") {
      throw this.reader.damage("the names of a module and a global", `${kindOf(module)} and ${kindOf(name)}`);
    }
    const global = this.host.global(module, name);
    if (!global) {
      throw this.reader.refuse("only the names that a state dict needs", `global ${quote(`${module}.${name}`)}`);
    }
    this.push(global);
  }

  private reduce(): void {
    const [callable, args] = this.popMany(2);
    if (!(callable instanceof PickleGlobal && callable.call)) {
      throw this.reader.refuse("a call of a name that makes a tensor or a dict", `REDUCE of ${kindOf(callable)}`);
    }
    if (!(args instanceof PickleTuple)) throw this.reader.damage("a tuple of arguments", kindOf(args));
    this.push(callable.call(args.items, this.reader.where()));
  }

  private memoize(index: number): void {
    const value = this.top();
    if (this.memo.has(index)) throw this.reader.damage("each place of the memo filled once", `place ${index} again`);
    if (this.memo.size === pickleLimits.memo) throw this.reader.refuse(`a memo of ${pickleLimits.memo}`, "more");
    this.memo.set(index, value);
  }

  private recall(index: number): void {
    const value = this.memo.get(index);
    if (value === undefined) throw this.reader.damage(`a value in place ${index} of the memo`, "none");
    this.push(value);
  }
}
