/** What the benchmark compares: ways to answer a prompt with the help of k contexts of c tokens. */

/** The work at one point of a sweep. */
export interface Point {
  /** k, contexts */
  contexts: number;
  /** c, tokens of each context */
  contextTokens: number;
}

export interface Task {
  /** Token ids of each context. */
  contexts: readonly (readonly number[])[];
  prompt: readonly number[];
  newTokens: number;
}

/** Milliseconds since the task was given. */
export interface TaskTimes {
  /** Until the state to start from is there; null where none is made. */
  stateMs: number | null;
  firstTokenMs: number;
  /** Until the last new token; null where only the first was asked for. */
  totalMs: number | null;
}

export interface PreparedTask {
  /** Does the task once. */
  run(newTokens: number): Promise<TaskTimes>;
  /** Gives back what was made ready. */
  close?(): void;
}

/**
 * One way to do a task. Another engine becomes one more line in every plot by being one more of these.
 */
export interface Curve {
  /** Short and unique: the key in the results and the label in the plots. */
  name: string;
  /** Whether the contexts' tokens are read at question time, or were before. */
  reads: "tokens" | "states";
  /** Bytes of stored states read for a point; null where none are. */
  bytes(point: Point): number | null;
  /** Makes ready what is made once, offline, for these contexts; not timed. */
  prepare(task: Task, point: Point): Promise<PreparedTask>;
  dispose?(): Promise<void>;
}
