/** Where the hub and its cache are, and how this call may use them: options first, then the hub's environment variables. */
import { homedir } from "node:os";
import { join, resolve } from "node:path";
import { PicasoError } from "../errors.js";

export interface DownloadProgress {
  phase: "download";
  /** Path of the file in its repository. */
  file: string;
  /** Bytes on disk so far, those of an earlier try included. */
  done: number;
  /** Bytes of the whole file. */
  total: number;
}

export interface HubOptions {
  /** Never ask the network. `HF_HUB_OFFLINE=1` says the same and cannot be overruled. @default false */
  offline?: boolean;
  /** Branch, tag or commit. @default "main" */
  revision?: string;
  /** Called when a file starts, at most ten times a second while it comes in, and when it is complete. */
  onProgress?: (progress: DownloadProgress) => void;
  signal?: AbortSignal;
  /** @default `HF_ENDPOINT`, else https://huggingface.co */
  hubUrl?: string;
  /** @default `HF_HUB_CACHE`, else `HUGGINGFACE_HUB_CACHE`, else `hub` in `HF_HOME`, else in ~/.cache/huggingface */
  cacheDir?: string;
}

export interface HubSettings {
  offline: boolean;
  /** Without a slash at its end. */
  hubUrl: string;
  cacheDir: string;
  /** `HF_TOKEN`; sent to the hub itself and to no other host. */
  token: string | undefined;
  onProgress: ((progress: DownloadProgress) => void) | undefined;
  signal: AbortSignal | undefined;
}

/** Throws `bad-argument` for an address or a token that cannot be used. */
export function hubSettings(options: HubOptions): HubSettings {
  const { env } = process;
  return {
    offline: options.offline === true || isTrue(env.HF_HUB_OFFLINE),
    hubUrl: hubAddress(options.hubUrl || env.HF_ENDPOINT || "https://huggingface.co"),
    cacheDir: resolve(expandHome(options.cacheDir || hubCacheFolder())),
    token: accessToken(env.HF_TOKEN),
    onProgress: options.onProgress,
    signal: options.signal,
  };
}

/** The cache that the hub's Python library and its command line tool use. */
function hubCacheFolder(): string {
  const { HF_HUB_CACHE, HUGGINGFACE_HUB_CACHE, HF_HOME, XDG_CACHE_HOME } = process.env;
  const home = HF_HOME || join(XDG_CACHE_HOME || join(homedir(), ".cache"), "huggingface");
  return HF_HUB_CACHE || HUGGINGFACE_HUB_CACHE || join(home, "hub");
}

function expandHome(path: string): string {
  return /^~(?=[/\\]|$)/.test(path) ? join(homedir(), path.slice(1)) : path;
}

function isTrue(text: string | undefined): boolean {
  return ["1", "ON", "YES", "TRUE"].includes(text?.toUpperCase() ?? "");
}

function hubAddress(text: string): string {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if ((url?.protocol !== "https:" && url?.protocol !== "http:") || url.search || url.hash || url.username) {
    throw new PicasoError("bad-argument", {
      where: "hub address (hubUrl or HF_ENDPOINT)",
      expected: "an http or https address, such as https://huggingface.co",
      found: JSON.stringify(text),
      next: "Correct or unset HF_ENDPOINT.",
    });
  }
  return text.replace(/\/+$/, "");
}

function accessToken(text: string | undefined): string | undefined {
  const token = text?.trim();
  if (!token) return undefined;
  if (/^[\x21-\x7e]+$/.test(token)) return token;
  throw new PicasoError("bad-argument", {
    where: "HF_TOKEN",
    expected: "a token of letters, digits and signs",
    found: "one with spaces or other characters",
    next: "Copy the token again from the hub's settings.",
  });
}
