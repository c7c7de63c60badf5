/**
 * What a command tells its user: results on stdout, everything else on stderr. Progress is a bar on a terminal, a line
 * now and then elsewhere, and JSON lines with --json.
 */
import type { SingleBar } from "cli-progress";
import { duration, figure, quantity } from "./format.js";

export interface Progress {
  done: number;
  total: number;
  unit: "bytes" | "files" | "passages" | "queries" | "steps" | "texts";
  /** What else there is to see by now, by name: `{ loss: 2.91 }`. */
  figures?: Record<string, number>;
}

/** Seconds between lines of progress for people where there is no terminal, and for programs. */
const lineInterval = 5;
const jsonInterval = 0.1;

export class Reporter {
  private readonly json: boolean;
  private readonly quiet: boolean;
  private bar: SingleBar | null = null;
  private label = "";
  private since = 0;
  private firstDone = 0;
  private lastLine = 0;
  private loading: Promise<unknown> | null = null;

  constructor({ json = false, quiet = false }: { json?: boolean; quiet?: boolean }) {
    this.json = json;
    this.quiet = quiet;
  }

  /** A result: an object for programs, or lines for people. */
  result(object: unknown, text: string): void {
    process.stdout.write(this.json ? `${JSON.stringify(object)}\n` : text);
  }

  /** A remark that is no result. */
  note(text: string): void {
    if (this.quiet) return;
    process.stderr.write(this.json ? `${JSON.stringify({ note: text })}\n` : `${text}\n`);
  }

  progress(label: string, progress: Progress): void {
    if (this.quiet) return;
    const now = performance.now() / 1000;
    if (label !== this.label) {
      this.progressDone();
      this.label = label;
      this.since = now;
      this.firstDone = progress.done;
      this.lastLine = now;
    }
    if (this.json) {
      const isDue =
        now - this.lastLine >= jsonInterval || this.lastLine === this.since || progress.done === progress.total;
      if (!isDue) return;
      this.lastLine = now;
      process.stderr.write(`${JSON.stringify({ progress: label, ...progress, ...this.pace(progress, now) })}\n`);
    } else if (process.stderr.isTTY) {
      this.drawBar(progress, now);
    } else if (now - this.lastLine >= lineInterval) {
      this.lastLine = now;
      process.stderr.write(`${label}: ${this.describe(progress, now)}\n`);
    }
  }

  progressDone(): void {
    this.bar?.stop();
    this.bar = null;
    this.label = "";
  }

  private drawBar(progress: Progress, now: number): void {
    if (!this.bar) {
      // Loaded on first use: most commands draw no bar.
      this.loading ??= import("cli-progress").then(({ default: { SingleBar, Presets } }) => {
        this.createBar = () => {
          const format = `{label} [{bar}] {description}`;
          const bar = new SingleBar(
            { format, hideCursor: true, clearOnComplete: true, barsize: 24 },
            Presets.shades_grey,
          );
          bar.start(1, 0, { label: "", description: "" });
          return bar;
        };
      });
      if (!this.createBar) return;
      this.bar = this.createBar();
    }
    this.bar.setTotal(progress.total);
    this.bar.update(progress.done, { label: this.label, description: this.describe(progress, now) });
  }

  private createBar: (() => SingleBar) | null = null;

  private describe(progress: Progress, now: number): string {
    const { perSecond, secondsLeft } = this.pace(progress, now);
    const { unit } = progress;
    const amount = unit === "bytes" ? quantity(progress.done, unit) : progress.done.toLocaleString("en");
    const figures = Object.entries(progress.figures ?? {}).map(([name, value]) => `, ${name} ${figure(value)}`);
    const done = `${amount} of ${quantity(progress.total, unit)}${figures.join("")}`;
    if (!perSecond) return done;
    const rate = perSecond < 1 ? `${duration(1 / perSecond)} each` : `${quantity(perSecond, unit)}/s`;
    return `${done}, ${rate}, ${duration(secondsLeft)} left`;
  }

  private pace({ done, total }: Progress, now: number): { perSecond: number; secondsLeft: number } {
    const perSecond = now > this.since ? (done - this.firstDone) / (now - this.since) : 0;
    return { perSecond, secondsLeft: perSecond > 0 ? (total - done) / perSecond : 0 };
  }
}
