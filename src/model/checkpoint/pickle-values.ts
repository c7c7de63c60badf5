/**
 * What a pickle can contain here. Containers know how deep they are, and are sealed once they stand inside another:
 * Python's pickler fills each before it places it, and so no value can contain itself.
 */

export type PickleValue = boolean | number | string | PickleTuple | PickleDict | PickleGlobal | PickleObject;

export class PickleTuple {
  constructor(
    readonly items: readonly PickleValue[],
    readonly depth: number,
  ) {}
}

export class PickleDict {
  readonly entries = new Map<string, PickleValue>();
  /** The instance's `__dict__`, which only an OrderedDict has. */
  attributes: PickleDict | undefined;
  depth = 1;
  sealed = false;

  constructor(readonly ordered: boolean) {}
}

/** A name that the pickle refers to. Nothing is imported: it stands for what the host says it does. */
export class PickleGlobal {
  constructor(
    readonly name: string,
    /** What calling it gives; undefined for a name that is never called. `where` is for errors. */
    readonly call?: (args: readonly PickleValue[], where: string) => PickleValue,
  ) {}
}

/** A value of the host's own, opaque to the pickle. */
export class PickleObject<T = unknown> {
  constructor(readonly value: T) {}
}

/** The kind of a value, for messages: never its content, which may be of any size. */
export function kindOf(value: PickleValue | undefined): string {
  if (value === undefined) return "nothing";
  if (value instanceof PickleTuple) return `a tuple of ${value.items.length}`;
  if (value instanceof PickleDict) return value.ordered ? "an OrderedDict" : "a dict";
  if (value instanceof PickleGlobal) return `the global ${value.name}`;
  if (value instanceof PickleObject) return "an object";
  return typeof value === "string" ? "a string" : `${value}`;
}
