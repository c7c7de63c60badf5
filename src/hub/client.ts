/** Requests to the hub: with the token for the hub alone, a limit on silence, and bounded retries of what may pass. */
import { setTimeout as sleep } from "node:timers/promises";
import { abortedError, PicasoError, throwIfAborted } from "../errors.js";
import { HubUnavailable, noConnection, statusError, unavailable } from "./hub-errors.js";
import { type HubRepo, repoLabel } from "./reference.js";
import type { HubSettings } from "./settings.js";

export interface Patience {
  /** Tries of one request, the first included. */
  attempts: number;
  /** Before the second try; doubled before each further one. */
  firstPauseMs: number;
  /** A connection that brings nothing for so long is given up. */
  stallMs: number;
}

const standardPatience: Patience = { attempts: 4, firstPauseMs: 500, stallMs: 30_000 };

/** With a copy in the cache, the question whether there is a newer one is worth no long wait. */
export const briefPatience: Patience = { attempts: 2, firstPauseMs: 500, stallMs: 10_000 };

/** A hub that asks for a longer rest is not waited for. */
const longestPauseMs = 30_000;
/** Descriptions of repositories are some kB; the largest have some MB. */
const maxDescriptionBytes = 64 << 20;

export class HubClient {
  constructor(
    readonly settings: HubSettings,
    readonly repo: HubRepo,
    readonly patience: Patience = standardPatience,
  ) {}

  /**
   * `fetch` for short answers, read whole: fails with {@link PicasoError}, for every status but success too, after
   * the retries.
   */
  readonly fetch: typeof fetch = async (input, init) => {
    const url = input instanceof Request ? input.url : String(input);
    for (let failures = 1; ; failures++) {
      try {
        return await this.open(url, init ?? {}, async (response, chunks) => {
          const { status, headers } = response;
          return new Response(await this.readWhole(chunks), { status, headers });
        });
      } catch (error) {
        await this.pause(error, failures);
      }
    }
  };

  /**
   * One try of a request: `use` gets the response, which is a success, and its body as it comes in. Throws
   * {@link HubUnavailable} for what may pass.
   */
  async open<T>(
    url: string,
    init: RequestInit,
    use: (response: Response, chunks: AsyncIterable<Uint8Array>) => Promise<T>,
  ): Promise<T> {
    const { settings, repo } = this;
    throwIfAborted(settings.signal, repoLabel(repo));
    const stall = new AbortController();
    const timer = setTimeout(() => stall.abort(), this.patience.stallMs);
    const headers = new Headers(init.headers);
    headers.set("user-agent", "picaso");
    // fetch drops the header again where the hub sends it on to another host.
    const isHub = new URL(url).origin === new URL(settings.hubUrl).origin;
    if (settings.token && isHub) headers.set("authorization", `Bearer ${settings.token}`);
    const signals = settings.signal ? [settings.signal, stall.signal] : [stall.signal];
    const connectionError = (cause: unknown): PicasoError => {
      if (settings.signal?.aborted) return abortedError(repoLabel(repo), settings.signal.reason);
      if (!stall.signal.aborted) return noConnection(settings, repo, cause);
      return unavailable(settings, repo, `silence for ${this.patience.stallMs / 1000} s`, cause);
    };
    try {
      const response = await fetch(url, { ...init, headers, signal: AbortSignal.any(signals) }).catch((cause) => {
        throw connectionError(cause);
      });
      if (!response.ok) throw statusError(settings, repo, response);
      return await use(response, incoming(response, timer, connectionError));
    } finally {
      clearTimeout(timer);
      // Ends the connection where the body was not read to its end.
      stall.abort();
    }
  }

  /** Waits before the next try; rethrows an error that will not pass, or when the tries are used up. */
  async pause(error: unknown, failures: number): Promise<void> {
    if (!(error instanceof HubUnavailable) || failures >= this.patience.attempts) throw error;
    const wait = error.retryAfterMs ?? this.patience.firstPauseMs * 2 ** (failures - 1);
    if (wait > longestPauseMs) throw error;
    const { signal } = this.settings;
    await sleep(wait, undefined, { signal }).catch((cause) => {
      throw abortedError(repoLabel(this.repo), cause);
    });
  }

  private async readWhole(chunks: AsyncIterable<Uint8Array>): Promise<Uint8Array<ArrayBuffer>> {
    const parts: Uint8Array[] = [];
    let bytes = 0;
    for await (const chunk of chunks) {
      bytes += chunk.length;
      if (bytes > maxDescriptionBytes) {
        throw new PicasoError("failed", {
          where: repoLabel(this.repo),
          expected: `a description of at most ${maxDescriptionBytes} bytes`,
          found: "more",
          next: `Check that ${this.settings.hubUrl} is a Hugging Face hub (HF_ENDPOINT).`,
        });
      }
      parts.push(chunk);
    }
    return new Uint8Array(Buffer.concat(parts));
  }
}

/** The body's chunks; each one starts the timer anew. */
async function* incoming(
  response: Response,
  timer: NodeJS.Timeout,
  connectionError: (cause: unknown) => PicasoError,
): AsyncGenerator<Uint8Array> {
  try {
    for await (const chunk of response.body ?? []) {
      timer.refresh();
      yield chunk;
    }
  } catch (cause) {
    throw connectionError(cause);
  }
}
