/**
 * AssemblyScript source of the decoder: the steps of one token, run by several threads over one shared memory.
 *
 * A plan is an array of steps of 192 bytes (steps.ts writes it). The first 128 say what to do: the kind, the number of
 * chunks that the step is cut into, and the arguments, 4 bytes each. The others count: which chunk is to be taken next,
 * together with the token (its generation) that the count is of, and how many chunks have ever been finished. Threads
 * take chunks until none is left and then wait until all are finished. No thread is waited for unless it holds a chunk:
 * one that is late, or still starting, costs nothing, and how many there are changes no bit of the result.
 */
import { product } from "./products.as";
import { convolve, head } from "./recurrence.as";
import { embedF32, embedQ8, norm } from "./vectors.as";


/** Bytes of a step; offsets of its counts. */
const STEP: usize = 192;
const TICKET: usize = 128;
const FINISHED: usize = 136;

/** Offsets in the control block, in which every number that threads wait on has a cache line of its own. */
const GENERATION: usize = 0;
const TOKEN: usize = 4;
const STOP: usize = 8;
const FAILED: usize = 64;
const SLEEPING: usize = 128;
const HELPED: usize = 192;

const NONE: u32 = 0xffffffff;

/** Looks at a count before a thread sleeps: some tens of microseconds. */
const SPINS = 20000;
/** A sleep, in nanoseconds, and how many of them without any progress mean that a thread was lost. */
const NAP: i64 = 100_000_000;
const MOST_NAPS = 600;

/** A helping thread: takes part in every token after generation `seen` until it is told to stop or one has failed. */
export function work(control: usize, steps: usize, end: usize, seen: u32): void {
  for (;;) {
    let generation = atomic.load<u32>(control, GENERATION);
    for (let spins = 0; generation == seen && spins < SPINS; spins++) generation = atomic.load<u32>(control, GENERATION);
    if (generation == seen) {
      atomic.wait<i32>(control + GENERATION, seen, -1);
      continue;
    }
    if (atomic.load<u32>(control, STOP) != 0) return;
    seen = generation;
    const chunks = run(control, steps, end, generation);
    if (chunks < 0) return;
    atomic.add<i32>(control, chunks, HELPED);
  }
}

/** Takes part in a token and returns the number of chunks it computed; -1 where a thread has failed. */
export function run(control: usize, steps: usize, end: usize, generation: u32): i32 {
  let own = 0;
  for (let step = steps; step < end; step += STEP) {
    const chunks = load<u32>(step, 4);
    const target = generation * chunks;
    for (let chunk = take(step, chunks, generation); chunk != NONE; chunk = take(step, chunks, generation)) {
      execute(control, step, chunk);
      own++;
      const finished = atomic.add<u32>(step + FINISHED, 1) + 1;
      if (finished == target && atomic.load<u32>(control, SLEEPING) != 0) atomic.notify(step + FINISHED, -1);
    }
    if (!reached(control, step + FINISHED, target)) return -1;
  }
  return own;
}

function take(step: usize, chunks: u32, generation: u32): u32 {
  let ticket = atomic.load<u64>(step, TICKET);
  while (true) {
    const ahead = <i32>(<u32>(ticket >> 32) - generation);
    // Others are at a later token: this one has been finished without us.
    if (ahead > 0) return NONE;
    const next = ahead == 0 ? <u32>ticket : 0;
    if (next >= chunks) return NONE;
    const found = atomic.cmpxchg<u64>(step, ticket, (<u64>generation << 32) | (next + 1), TICKET);
    if (found == ticket) return next;
    ticket = found;
  }
  return NONE;
}

function reached(control: usize, count: usize, target: u32): bool {
  let spins = 0;
  let naps = 0;
  while (true) {
    const finished = atomic.load<u32>(count);
    if (<i32>(finished - target) >= 0) return true;
    if (spins++ < SPINS) continue;
    if (atomic.load<u32>(control, FAILED) != 0 || naps++ == MOST_NAPS) return false;
    atomic.add<u32>(control + SLEEPING, 1);
    atomic.wait<i32>(count, finished, NAP);
    atomic.sub<u32>(control + SLEEPING, 1);
  }
  return false;
}

// The numbers of the kinds, and the order of arguments, are those of steps.ts.
function execute(control: usize, step: usize, chunk: u32): void {
  switch (load<u32>(step)) {
    case 0:
      embedF32(step, load<u32>(control, TOKEN));
      break;
    case 1:
      embedQ8(step, load<u32>(control, TOKEN));
      break;
    case 2:
      norm(step);
      break;
    case 3:
      product(step, chunk);
      break;
    case 4:
      convolve(step, chunk);
      break;
    case 5:
      head(step, chunk);
      break;
    default:
      unreachable();
  }
}
