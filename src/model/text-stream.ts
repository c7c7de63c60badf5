/**
 * Token ids to text as they come: a character whose bytes are spread over several tokens is held back until it is
 * whole, and so is text that may turn out to be the beginning of a stop text.
 */

/** What a tokenizer's decoder puts for bytes that are no character yet. */
const replacement = "\uFFFD";

/** Tokens that can hold the beginning of an incomplete character, which has at most 3 of its 4 bytes. */
const windowTokens = 3;

export class TextStream {
  /**
   * The last tokens. The next one is decoded together with them: it may complete a character, and a decoder may treat
   * the first token of a text in its own way.
   */
  private window: number[] = [];
  private text = "";
  /** Length of the window's text that has been passed on: all of it, or all but an incomplete character. */
  private certain = 0;
  private pending = "";
  /** Whether a stop text has come; nothing more is given out then. */
  stopped = false;

  constructor(
    private readonly decode: (ids: readonly number[]) => string,
    private readonly stop: readonly string[] = [],
  ) {}

  /** Takes a token and returns the text that is now certain, which may be empty. */
  push(token: number): string {
    if (this.stopped) return "";
    const window = [...this.window, token];
    const text = this.decode(window);
    // A special token has no text, and takes no place from the bytes of a character that goes on after it.
    if (text === this.text && this.decode([token]) === "") return "";
    // What a decoder puts at the end for an incomplete character is the one thing that later bytes can change.
    const held = text.endsWith(replacement) ? replacement.length : 0;
    this.pending += text.slice(this.certain, text.length - held);
    this.window = window.slice(-windowTokens);
    this.text = this.decode(this.window);
    this.certain = this.text.length - held;
    return this.release();
  }

  /** The rest of the text, once no token follows. */
  end(): string {
    if (this.stopped) return "";
    const rest = this.pending + this.text.slice(this.certain);
    this.pending = "";
    this.certain = this.text.length;
    return rest;
  }

  private release(): string {
    const found = this.stop.map((text) => this.pending.indexOf(text)).filter((at) => at >= 0);
    if (found.length > 0) {
      this.stopped = true;
      return this.pending.slice(0, Math.min(...found));
    }
    const keep = Math.max(0, ...this.stop.map((text) => overlap(this.pending, text)));
    const certain = this.pending.slice(0, this.pending.length - keep);
    this.pending = this.pending.slice(certain.length);
    return certain;
  }
}

/** Length of the longest end of `text` that is a beginning of `stop`. */
function overlap(text: string, stop: string): number {
  for (let length = Math.min(text.length, stop.length - 1); length > 0; length--) {
    if (stop.startsWith(text.slice(-length))) return length;
  }
  return 0;
}
