import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    include: ["src/**/*.test.ts", "test/**/*.test.ts"],
    testTimeout: 60_000,
    hookTimeout: 120_000,
    // Each worker holds its own model; two fit the memory and cores of a small machine.
    pool: "forks",
    maxWorkers: 2,
  },
});
