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

/** Equal for starts that are the same state, so that it is made and scored once. */
export function startKey(start: Start): string {
  if (start.kind === "none") return "none";
  if (start.kind === "read") {
    // Reading a single context gives the state that is stored for it.
    const orders = start.orders.map(String).sort();
    return start.orders[0]!.length === 1 ? `single ${orders[0]}` : `read ${orders.join(" ")}`;
  }
  const { method, order } = start;
  if (order.length === 1) return `single ${order}`;
  // Two contexts have two orders, which are rotations of each other.
  const isSame = method === "picaso-r" && order.length === 2;
  return `${isSame ? "picaso-s" : method} ${order}`;
}

/** Contexts whose tokens are read again at question time. */
export function contextsRead(start: Start): number[] {
  return start.kind === "read" ? start.orders.flat() : [];
}

/** Which k a method is run at, of those wanted: `none` is k = 0 and `best-1` is k = 1. */
export function contextCounts(method: EvaluationMethod, wanted: readonly number[]): number[] {
  if (method === "none") return [0];
  if (method === "best-1") return [1];
  return wanted.filter((k) => k > 0);
}
