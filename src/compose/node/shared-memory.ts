/**
 * Memory in which threads sum states where they stand. WebAssembly reads one memory only, so all states that are held in
 * memory, and the threads' own room, are parts of a single one, which grows to 4 GB. Needs Node.
 */

const PAGE = 65_536;
const MOST_PAGES = 65_536;

/** Lines of the caches, in bytes. */
const LINE = 64;

interface Hole {
  begin: number;
  end: number;
}

export class SharedMemory {
  readonly memory = new WebAssembly.Memory({ initial: 1, maximum: MOST_PAGES, shared: true });
  /** What is free, in order, never two side by side. */
  private holes: Hole[] = [{ begin: 0, end: PAGE }];
  private readonly taken = new Map<number, number>();

  /** @param mostPages Largest size, in pages of 64 KB; for tests. */
  constructor(private readonly mostPages = MOST_PAGES) {}

  /** Address of so many bytes, a multiple of 64; null where there is no room. They hold what was there before. */
  allocate(byteLength: number): number | null {
    const size = Math.max(LINE, Math.ceil(byteLength / LINE) * LINE);
    const hole = this.holes.find(({ begin, end }) => end - begin >= size) ?? this.grow(size);
    if (hole === null) return null;
    const address = hole.begin;
    hole.begin += size;
    if (hole.begin === hole.end) this.holes.splice(this.holes.indexOf(hole), 1);
    this.taken.set(address, size);
    return address;
  }

  /** Gives an allocation back, once. */
  release(address: number): void {
    const size = this.taken.get(address);
    if (size === undefined) return;
    this.taken.delete(address);
    const at = this.holes.findIndex(({ begin }) => begin > address);
    this.holes.splice(at === -1 ? this.holes.length : at, 0, { begin: address, end: address + size });
    this.join();
  }

  /** The bytes of an allocation, as memory that threads can be sent. */
  bytes(address: number, byteLength: number): Uint8Array {
    return new Uint8Array(this.memory.buffer, address, byteLength);
  }

  /** A hole of `size` bytes or more at the end. */
  private grow(size: number): Hole | null {
    const pages = this.memory.buffer.byteLength / PAGE;
    const end = pages * PAGE;
    const last = this.holes.at(-1);
    const begin = last?.end === end ? last.begin : end;
    const more = Math.ceil((begin + size - end) / PAGE);
    if (pages + more > this.mostPages) return null;
    try {
      this.memory.grow(more);
    } catch {
      // The system has no memory left to promise.
      return null;
    }
    this.holes.push({ begin: end, end: end + more * PAGE });
    this.join();
    return this.holes.at(-1)!;
  }

  private join(): void {
    const joined: Hole[] = [];
    for (const hole of this.holes) {
      const last = joined.at(-1);
      if (last?.end === hole.begin) last.end = hole.end;
      else joined.push(hole);
    }
    this.holes = joined;
  }
}

/** The one of this process. */
export const sharedMemory = new SharedMemory();
