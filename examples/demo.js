// The main job, once: index the example documents with the bundled model, then ask about them.
import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";

const path = (relative) => fileURLToPath(new URL(relative, import.meta.url));
const store = ".picaso-examples";

function picaso(...args) {
  args.push("--store", store);
  console.log(`\n$ picaso ${args.map((arg) => (/[\s?]/.test(arg) ? `"${arg}"` : arg)).join(" ")}`);
  const { status } = spawnSync(process.execPath, [path("../dist/cli/main.js"), ...args], {
    cwd: path(".."),
    stdio: "inherit",
  });
  if (status !== 0) process.exit(status ?? 1);
}

// Short passages: the bundled model is small, and finds answers best in a few sentences.
picaso("index", "examples/docs", "--passage-tokens", "64");
picaso("ask", "When was the Eiffel Tower completed?", "-k", "2");
picaso("ask", "Who designed the Golden Gate Bridge?", "-k", "2", "--method", "picaso-s");
