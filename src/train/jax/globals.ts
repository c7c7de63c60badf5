/**
 * What jax-js expects to find in a browser and Node 20 does not have. It looks for these things once, while it is being
 * imported, so this must run before: see jax.ts.
 */
import { availableParallelism } from "node:os";
import { setFlagsFromString } from "node:v8";
import { NodeWorker } from "./node-worker.js";

let threads = availableParallelism();
let prepared = false;

/** Sets how many threads the wasm engine will use; returns false when it is too late because jax-js is loaded. */
export function requestThreads(count: number): boolean {
  if (prepared) return count === threads;
  threads = count;
  return true;
}

/** Threads that the wasm engine uses, or will use once loaded. */
export function engineThreads(): number {
  return threads;
}

/** Makes `navigator`, `Worker` and fused multiply-add available. */
export function prepareGlobals(): void {
  if (prepared) return;
  prepared = true;
  // Node 20's V8 has relaxed SIMD behind a flag. Its fused multiply-add makes matrix products 1.5 times as fast.
  setFlagsFromString("--experimental-wasm-relaxed-simd");
  const scope = globalThis as { navigator?: object; Worker?: unknown };
  if (!scope.navigator) {
    Object.defineProperty(scope, "navigator", { value: { userAgent: "node" }, configurable: true, writable: true });
  }
  Object.defineProperty(scope.navigator, "hardwareConcurrency", { value: threads, configurable: true });
  if (threads > 1) scope.Worker ??= NodeWorker;
}
