/** For tests only: a hub on this machine, with the part of the Hugging Face hub's interface that downloads need. */
import { createHash } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect } from "vitest";
import { PicasoError } from "../errors.js";

export interface TestRepo {
  commit: string;
  /** Files from this size on are kept like the hub's large ones: by SHA-256, sent by another host. */
  largeFrom: number;
  files: Record<string, Buffer>;
  /** Token without which the hub answers 401. */
  token?: string;
}

export interface SeenRequest {
  /** Method and path, such as `GET /org/name/resolve/...`; those to the host of large files begin with `large:`. */
  line: string;
  range: string | undefined;
  authorization: string | undefined;
}

/** Takes the answer over instead of the hub. */
export type Fault = (request: IncomingMessage, response: ServerResponse, body: Buffer | undefined) => void;

export class TestHub {
  url = "";
  largeUrl = "";
  /** By type and name, such as `models/org/name`. */
  readonly repos = new Map<string, TestRepo>();
  readonly seen: SeenRequest[] = [];
  /** Faults by the part of the request line they apply to, in order; each is used once. */
  readonly faults: { match: string; fault: Fault }[] = [];
  private readonly servers: Server[] = [];

  async start(): Promise<void> {
    this.url = await this.listen((request, response) => this.answer(request, response));
    this.largeUrl = await this.listen((request, response) => this.answerLarge(request, response));
  }

  async stop(): Promise<void> {
    for (const server of this.servers) {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    }
  }

  /** A repository with a commit id made from its number. */
  add(key: string, files: Record<string, string | Buffer>, more: Partial<TestRepo> = {}): TestRepo {
    const buffers = Object.fromEntries(Object.entries(files).map(([path, data]) => [path, Buffer.from(data)]));
    const repo = { commit: commitOf(1), largeFrom: 1000, files: buffers, ...more };
    this.repos.set(key, repo);
    return repo;
  }

  /** Lines of the requests for files' contents. */
  get downloads(): string[] {
    return this.seen.map(({ line }) => line).filter((line) => line.includes("/resolve/") || line.startsWith("large:"));
  }

  fail(match: string, ...faults: Fault[]): void {
    for (const fault of faults) this.faults.push({ match, fault });
  }

  private async listen(handle: (request: IncomingMessage, response: ServerResponse) => void): Promise<string> {
    const server = createServer(handle);
    this.servers.push(server);
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  }

  private answer(request: IncomingMessage, response: ServerResponse): void {
    const path = decodeURIComponent(new URL(request.url!, this.url).pathname);
    const line = `${request.method} ${path}`;
    this.note(line, request);
    const api = /^\/api\/((?:models|datasets)\/[^/]+\/[^/]+)\/(revision|paths-info)\/(.+)$/.exec(path);
    const file = /^\/(datasets\/)?([^/]+\/[^/]+)\/resolve\/([^/]+)\/(.+)$/.exec(path);
    const key = api ? api[1]! : file ? `${file[1] ?? "models/"}${file[2]}` : "";
    const repo = this.repos.get(key);
    const content = file ? repo?.files[file[4]!] : undefined;
    const revision = api ? api[3] : file?.[3];
    if (this.takeFault(line, request, response, content)) return;
    if (!repo) refuse(response, 404, "RepoNotFound");
    else if (repo.token && request.headers.authorization !== `Bearer ${repo.token}`) refuse(response, 401, "GatedRepo");
    else if (revision !== "main" && revision !== repo.commit) refuse(response, 404, "RevisionNotFound");
    else if (api?.[2] === "revision") {
      const siblings = Object.keys(repo.files).map((rfilename) => ({ rfilename }));
      json(response, { _id: "1", id: key, sha: repo.commit, siblings });
    } else if (api) describePaths(request, response, repo);
    else if (!content) refuse(response, 404, "EntryNotFound");
    else if (content.length < repo.largeFrom) sendContent(request, response, content);
    else response.writeHead(302, { location: `${this.largeUrl}/${key}/${file![4]}` }).end();
  }

  private answerLarge(request: IncomingMessage, response: ServerResponse): void {
    const [type, org, name, ...path] = decodeURIComponent(request.url!).slice(1).split("/");
    const content = this.repos.get(`${type}/${org}/${name}`)!.files[path.join("/")]!;
    const line = `large:${path.join("/")}`;
    this.note(line, request);
    if (!this.takeFault(line, request, response, content)) sendContent(request, response, content);
  }

  private note(line: string, request: IncomingMessage): void {
    const { range, authorization } = request.headers;
    this.seen.push({ line, range, authorization });
  }

  private takeFault(line: string, request: IncomingMessage, response: ServerResponse, body?: Buffer): boolean {
    const index = this.faults.findIndex(({ match }) => line.includes(match));
    if (index < 0) return false;
    const [taken] = this.faults.splice(index, 1);
    taken!.fault(request, response, body);
    return true;
  }
}

/** A hub and an empty cache for each test of the calling file, without the caller's own settings of the hub. */
export function testHub(): { hub: TestHub; cacheDir: string } {
  const context = { hub: new TestHub(), cacheDir: "" };
  const names = ["HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_TOKEN", "HF_ENDPOINT", "HF_HUB_OFFLINE"];
  let saved: Record<string, string | undefined>;
  beforeEach(async () => {
    saved = Object.fromEntries(names.map((name) => [name, process.env[name]]));
    for (const name of names) delete process.env[name];
    context.hub = new TestHub();
    context.cacheDir = mkdtempSync(join(tmpdir(), "picaso-hub-"));
    await context.hub.start();
  });
  afterEach(async () => {
    await context.hub.stop();
    rmSync(context.cacheDir, { recursive: true });
    for (const name of names) {
      if (saved[name] === undefined) delete process.env[name];
      else process.env[name] = saved[name];
    }
  });
  return context;
}

/** The error of ours that a promise must fail with. */
export async function failure(promise: Promise<unknown>): Promise<PicasoError> {
  const error = await promise.then(
    () => expect.fail("no error was thrown"),
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(PicasoError);
  return error as PicasoError;
}

/** A commit id for tests. */
export function commitOf(number: number): string {
  return String(number).padStart(40, "0");
}

/** The name of a file's blob in the cache. */
export function blobName(content: Buffer, isLarge: boolean): string {
  if (isLarge) return createHash("sha256").update(content).digest("hex");
  return createHash("sha1").update(`blob ${content.length}\0`).update(content).digest("hex");
}

/** Answers with a status. */
export function status(code: number, headers: Record<string, string> = {}): Fault {
  return (_request, response) => {
    response.writeHead(code, headers).end();
  };
}

/** Cuts the connection after so many bytes of the part that was asked for. */
export function cutAfter(bytes: number): Fault {
  return (request, response, body) => {
    const start = rangeStart(request);
    response.writeHead(start ? 206 : 200, contentHeaders(body!, start));
    response.write(body!.subarray(start, start + bytes), () => response.destroy());
  };
}

export function sendContent(request: IncomingMessage, response: ServerResponse, content: Buffer): void {
  const start = rangeStart(request);
  response.writeHead(start ? 206 : 200, contentHeaders(content, start)).end(content.subarray(start));
}

function contentHeaders(content: Buffer, start: number): Record<string, string> {
  const length = { "content-length": String(content.length - start) };
  return start ? { ...length, "content-range": `bytes ${start}-${content.length - 1}/${content.length}` } : length;
}

function rangeStart(request: IncomingMessage): number {
  return Number(/^bytes=(\d+)-$/.exec(request.headers.range ?? "")?.[1] ?? 0);
}

function describePaths(request: IncomingMessage, response: ServerResponse, repo: TestRepo): void {
  const chunks: Buffer[] = [];
  request.on("data", (chunk: Buffer) => chunks.push(chunk));
  request.on("end", () => {
    const { paths } = JSON.parse(Buffer.concat(chunks).toString()) as { paths: string[] };
    json(
      response,
      paths.flatMap((name) => describe(repo, name)),
    );
  });
}

function describe(repo: TestRepo, path: string) {
  const content = repo.files[path];
  if (content) {
    const { length: size } = content;
    const lfs = size < repo.largeFrom ? undefined : { oid: blobName(content, true), size, pointerSize: 130 };
    return [{ type: "file", path, size, oid: blobName(content, false), lfs }];
  }
  const isFolder = Object.keys(repo.files).some((name) => name.startsWith(`${path}/`));
  return isFolder ? [{ type: "directory", path, size: 0, oid: commitOf(9) }] : [];
}

function refuse(response: ServerResponse, code: number, kind: string): void {
  response.writeHead(code, { "x-error-code": kind, "x-error-message": `refused: ${kind}` }).end();
}

function json(response: ServerResponse, value: unknown): void {
  response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(value));
}
