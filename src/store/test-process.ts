/**
 * A process for tests of several processes at one store: `node --import tsx test-process.ts JOB DIRECTORY NAME`.
 * Jobs: `write` lists documents until it is killed or the count given as a fourth argument is reached; `read` searches
 * and loads states until its input ends. Prints one JSON line at the end, or a line for each document.
 */
import { StateStore } from "./store.js";
import { documentOf, index, model } from "./test-store.js";

const [job, directory, name, count] = process.argv.slice(2) as [string, string, string, string | undefined];

/** Texts of a document as this writer has it; most words are shared with other documents and writers. */
function textsOf(document: number, version: number): string[] {
  return Array.from({ length: 1 + ((document + version) % 5) }, (_, p) =>
    p === 0 ? `shared passage ${document % 3}` : `document ${document} passage ${p} of writer ${name}`,
  );
}

async function write(store: StateStore): Promise<void> {
  const most = count === undefined ? Number.POSITIVE_INFINITY : Number(count);
  for (let i = 0; i < most; i++) {
    // Two writers go through the same documents; each also has some to itself, and removes one now and then.
    const source = i % 2 === 0 ? `/both/${(i / 2) % 8}` : `/${name}/${i % 7}`;
    try {
      if (i % 11 === 10) await store.removeDocuments([source]);
      else await index(store, [documentOf(store, source, textsOf(i % 16, i), `${name}-${i}`)]);
    } catch (error) {
      // A state that the other process removed at the same time: what a user is told to do is to run it again.
      if (!(error instanceof Error) || !/at the same time|another process removed it/.test(error.message)) throw error;
      process.stdout.write(`{"retried":${JSON.stringify(error.message)}}\n`);
      i--;
      continue;
    }
    if (i % 10 === 9) await store.refreshIndex();
    process.stdout.write(`${JSON.stringify({ listed: source })}\n`);
  }
}

async function read(store: StateStore): Promise<void> {
  let ended = false;
  process.stdin.on("end", () => {
    ended = true;
  });
  process.stdin.resume();
  let searches = 0;
  let states = 0;
  while (!ended) {
    for (const { passage } of await store.search("shared passage document", { k: 5 })) {
      try {
        const state = await store.loadState(passage);
        if (state.tokens !== passage.tokens) throw new Error(`${state.tokens} tokens for ${passage.text}`);
        states++;
      } catch (error) {
        // The passage was removed after the search found it.
        if ((error as { code?: string }).code !== "not-found") throw error;
      }
    }
    await store.documents();
    searches++;
  }
  process.stdout.write(`${JSON.stringify({ searches, states })}\n`);
}

const store = await StateStore.open(directory, { model, codec: "f32" });
await (job === "write" ? write(store) : read(store));
await store.close();
