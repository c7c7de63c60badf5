import { chmod, mkdir, mkdtemp, rm, symlink, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join, relative } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { documentFormat, findDocumentFiles, isInside } from "./find-files.js";

let folder: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "picaso-find-"));
});

afterEach(async () => {
  await rm(folder, { recursive: true });
});

async function makeFiles(...paths: string[]): Promise<void> {
  for (const path of paths) {
    await mkdir(join(folder, path, ".."), { recursive: true });
    await writeFile(join(folder, path), "text");
  }
}

async function found(...paths: string[]): Promise<string[]> {
  const files = await findDocumentFiles(paths.map((path) => join(folder, path)));
  return files.map(({ path }) => relative(folder, path));
}

describe("findDocumentFiles", () => {
  it("walks folders in the order of names, past hidden names, node_modules and other files", async () => {
    await makeFiles("b.md", "a/z.txt", "a/B.HTML", "a/b.htm", "a.jsonl", "c.pdf", "noending", "é ü/'q\" 1.txt");
    await makeFiles(".hidden.txt", ".git/x.txt", "node_modules/p/readme.md", "a/node_modules/r.md");
    expect(await found("")).toEqual(["a.jsonl", "a/B.HTML", "a/b.htm", "a/z.txt", "b.md", "é ü/'q\" 1.txt"]);
    const files = await findDocumentFiles([folder]);
    expect(files.map(({ format }) => format)).toEqual(["json-lines", "html", "html", "text", "markdown", "text"]);
  });

  it("takes hidden files and folders that are named", async () => {
    await makeFiles(".notes/a.txt", ".b.txt", "node_modules/c.md");
    expect(await found(".notes", ".b.txt", "node_modules")).toEqual([".b.txt", ".notes/a.txt", "node_modules/c.md"]);
  });

  it("lists a file once, however often and however it is named", async () => {
    await makeFiles("a/x.txt", "y.txt");
    await symlink("x.txt", join(folder, "a/again.txt"));
    await symlink("a", join(folder, "0-link"));
    expect(await found("a", "a/x.txt", "", "y.txt")).toEqual(["a/x.txt", "y.txt"]);
    // Reached through a link alone it has the link's name.
    expect(await found("0-link")).toEqual(["0-link/x.txt"]);
    expect(await found("0-link", "a/x.txt")).toEqual(["a/x.txt"]);
  });

  it("comes to an end where links lead in circles or nowhere", async () => {
    await makeFiles("a/b/x.txt");
    await symlink("..", join(folder, "a/b/up"));
    await symlink(folder, join(folder, "a/root"));
    await symlink("self.txt", join(folder, "self.txt"));
    await symlink("gone.txt", join(folder, "dangling.txt"));
    expect(await found("")).toEqual(["a/b/x.txt"]);
    await expect(found("dangling.txt")).rejects.toMatchObject({ code: "not-found" });
    await expect(found("self.txt")).rejects.toMatchObject({ code: "not-found" });
  });

  it("is refused paths that do not exist and files that are no documents", async () => {
    await makeFiles("image.png", "plain");
    await expect(found("absent")).rejects.toMatchObject({
      code: "not-found",
      details: { where: join(folder, "absent") },
    });
    await expect(found("plain/x.txt")).rejects.toMatchObject({ code: "not-found" });
    await expect(found("image.png")).rejects.toThrow(/\.txt, \.md, \.html, \.htm, \.jsonl.*"\.png"/);
    await expect(found("plain")).rejects.toMatchObject({ code: "unsupported", details: { found: "no ending" } });
    expect(await found("")).toEqual([]);
  });

  it("does not take a socket for a document", async () => {
    const server = createServer().listen(join(folder, "s.txt"));
    await new Promise((resolve) => server.once("listening", resolve));
    expect(await found("")).toEqual([]);
    await expect(found("s.txt")).rejects.toMatchObject({ code: "unsupported" });
    await new Promise((resolve) => server.close(resolve));
  });

  it.skipIf(process.getuid?.() === 0)("reports a folder that cannot be read", async () => {
    await makeFiles("a/x.txt");
    await chmod(join(folder, "a"), 0);
    await expect(found("")).rejects.toMatchObject({ code: "failed", details: { where: join(folder, "a") } });
    await chmod(join(folder, "a"), 0o700);
  });
});

describe("isInside", () => {
  it("goes by whole names", () => {
    expect(isInside("/a/b/c.txt", "/a/b")).toBe(true);
    expect(isInside("/a/b/c.txt", "/a/b/c.txt")).toBe(true);
    expect(isInside("/a/bc/d.txt", "/a/b")).toBe(false);
    expect(isInside("/a/b", "/a/b/c.txt")).toBe(false);
    expect(isInside("/a", "/")).toBe(true);
    expect(isInside(join(process.cwd(), "x/y.md"), "x/../x")).toBe(true);
  });
});

describe("documentFormat", () => {
  it("goes by the ending", () => {
    expect(documentFormat("/x/README.MD")).toBe("markdown");
    expect(documentFormat("/x.txt/constructor")).toBeUndefined();
    expect(documentFormat("/x/.txt")).toBeUndefined();
  });
});
