import { homedir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { hubSettings } from "./settings.js";

beforeEach(() => {
  const names = ["HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "XDG_CACHE_HOME", "HF_TOKEN", "HF_ENDPOINT"];
  for (const name of [...names, "HF_HUB_OFFLINE"]) vi.stubEnv(name, undefined);
});
afterEach(() => {
  vi.unstubAllEnvs();
});

test("without variables", () => {
  const { cacheDir, hubUrl, offline, token } = hubSettings({});
  expect(cacheDir).toBe(join(homedir(), ".cache", "huggingface", "hub"));
  expect([hubUrl, offline, token]).toEqual(["https://huggingface.co", false, undefined]);
});

test("the cache: the nearer variable wins, the option over all", () => {
  const cache = (options = {}) => hubSettings(options).cacheDir;
  vi.stubEnv("XDG_CACHE_HOME", "/xdg");
  expect(cache()).toBe("/xdg/huggingface/hub");
  vi.stubEnv("HF_HOME", "~/hf");
  expect(cache()).toBe(join(homedir(), "hf", "hub"));
  vi.stubEnv("HUGGINGFACE_HUB_CACHE", "/older");
  expect(cache()).toBe("/older");
  vi.stubEnv("HF_HUB_CACHE", "/newer");
  expect(cache()).toBe("/newer");
  vi.stubEnv("HF_HUB_CACHE", "");
  expect(cache()).toBe("/older");
  expect(cache({ cacheDir: "/option" })).toBe("/option");
});

test("the hub's address", () => {
  vi.stubEnv("HF_ENDPOINT", "http://mirror.example/hub//");
  expect(hubSettings({}).hubUrl).toBe("http://mirror.example/hub");
  expect(hubSettings({ hubUrl: "https://other.example" }).hubUrl).toBe("https://other.example");
  for (const hubUrl of ["hub", "file:///etc", "https://a?b", "https://user@host"]) {
    expect(() => hubSettings({ hubUrl })).toThrow(/http or https/);
  }
});

test.each([
  ["1", true],
  ["true", true],
  ["Yes", true],
  ["ON", true],
  ["0", false],
  ["", false],
])("HF_HUB_OFFLINE=%s", (value, offline) => {
  vi.stubEnv("HF_HUB_OFFLINE", value);
  expect(hubSettings({}).offline).toBe(offline);
  expect(hubSettings({ offline: true }).offline).toBe(true);
});
