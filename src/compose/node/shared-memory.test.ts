import { describe, expect, it } from "vitest";
import { SharedMemory } from "./shared-memory.js";

describe("SharedMemory", () => {
  it("gives parts that do not overlap, at multiples of 64, and takes them back in any order", () => {
    const shared = new SharedMemory();
    const live = new Map<number, { length: number; mark: number }>();
    let seed = 7;
    const random = (below: number) => {
      seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
      return Math.floor((seed / 2 ** 32) * below);
    };
    for (let step = 1; step <= 600; step++) {
      if (live.size > 0 && random(5) < 2) {
        const [address, { length, mark }] = [...live][random(live.size)]!;
        expect(shared.bytes(address, length).every((byte) => byte === mark)).toBe(true);
        shared.release(address);
        live.delete(address);
      } else {
        const length = random(5000);
        const address = shared.allocate(length)!;
        expect(address % 64).toBe(0);
        shared.bytes(address, length).fill(step % 256);
        live.set(address, { length, mark: step % 256 });
      }
    }
    for (const [address, { length, mark }] of live) {
      expect(shared.bytes(address, length).every((byte) => byte === mark)).toBe(true);
    }
  });

  it("uses again what was given back, joined with what is free beside it", () => {
    const shared = new SharedMemory(4);
    const parts = [1, 2, 3, 4].map(() => shared.allocate(65_536)!);
    expect(parts).toEqual([0, 65_536, 131_072, 196_608]);
    expect(shared.allocate(1)).toBeNull();
    shared.release(parts[2]!);
    shared.release(parts[1]!);
    expect(shared.allocate(131_073)).toBeNull();
    expect(shared.allocate(131_072)).toBe(65_536);
  });

  it("does not take a part back twice", () => {
    const shared = new SharedMemory(1);
    const first = shared.allocate(64)!;
    shared.release(first);
    shared.release(first);
    expect([shared.allocate(65_536), shared.allocate(64)]).toEqual([0, null]);
  });
});
