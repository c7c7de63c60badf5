/**
 * The ways of bringing k ranked contexts to the model that are compared, and the orders in which each takes them.
 * A context is named by its rank: 0 is the best.
 */
import type { CompositionMethod } from "../compose/weights.js";

export const evaluationMethods = [
  "none",
  "best-1",
  "soup",
  "caso",
  "caso-best-first",
  "picaso-r",
  "picaso-s",
  "concat",
  "concat-best-first",
  "piconcat-r",
] as const;

/**
 * `none` uses no context and `best-1` the best alone. `caso` and `concat` take the best context last, next to the
 * query, unless their name says otherwise. `piconcat-r` reads the raw text in every rotation and averages the final
 * states: what PICASO-R approximates.
 */
export type EvaluationMethod = (typeof evaluationMethods)[number];

export interface Cells {
  methods: readonly EvaluationMethod[];
  /** Numbers of contexts; a query with fewer is measured up to what it has. */
  ks: readonly number[];
  /** Largest k of `piconcat-r`, whose cost grows with its square. */
  piconcatMost: number;
}

/** How the state to start from comes about. */
export type Start =
  /** No context at all. */
  | { kind: "none" }
  /** Stored states composed, in this order. */
  | { kind: "composed"; method: CompositionMethod; order: number[] }
  /** The contexts' text read in these orders, the final states averaged. */
  | { kind: "read"; orders: number[][] };

/** The start of a method with k contexts. */
export function startOf(method: EvaluationMethod, k: number): Start {
  const bestFirst = Array.from({ length: k }, (_, rank) => rank);
  const bestLast = bestFirst.toReversed();
  if (k === 0 || method === "none") return { kind: "none" };
  switch (method) {
    case "best-1":
      return { kind: "composed", method: "soup", order: [0] };
    case "soup":
    case "picaso-r":
    case "picaso-s":
    case "caso":
      return { kind: "composed", method, order: bestLast };
    case "caso-best-first":
      return { kind: "composed", method: "caso", order: bestFirst };
    case "concat":
      return { kind: "read", orders: [bestLast] };
    case "concat-best-first":
      return { kind: "read", orders: [bestFirst] };
    case "piconcat-r":
      return { kind: "read", orders: bestLast.map((_, i) => [...bestLast.slice(i), ...bestLast.slice(0, i)]) };
  }
}

/**
 * Equal for starts that are the same state, so that it is made and scored once. `exact` says that composed states are
 * made of the contexts' states just as they were read, and not changed afterwards.
 */
export function startKey(start: Start, exact: boolean): string {
  if (start.kind === "none") return "none";
  const composed = exact ? "single" : "composed single";
  if (start.kind === "read") {
    const orders = start.orders.map(String).sort();
    return start.orders[0]!.length === 1 ? `single ${orders[0]}` : `read ${orders.join(" ")}`;
  }
  const { method, order } = start;
  if (order.length === 1) return `${composed} ${order}`;
  // Two contexts have two orders, which are rotations of each other.
  const isSame = method === "picaso-r" && order.length === 2;
  return `${isSame ? "picaso-s" : method} ${order}`;
}

/** Contexts whose tokens are read again at question time. */
export function contextsRead(start: Start): number[] {
  return start.kind === "read" ? start.orders.flat() : [];
}

/** What is measured of a query with so many contexts: `none` at k = 0, `best-1` at k = 1, the others at each k. */
export function cellsOf(
  { methods, ks, piconcatMost }: Cells,
  contexts: number,
): { method: EvaluationMethod; k: number }[] {
  const counts = (method: EvaluationMethod) => {
    if (method === "none") return [0];
    if (method === "best-1") return [1];
    return ks.filter((k) => k > 0 && (method !== "piconcat-r" || k <= piconcatMost));
  };
  return methods.flatMap((method) =>
    counts(method)
      .filter((k) => k <= contexts)
      .map((k) => ({ method, k })),
  );
}
