/**
 * Checks on the fields of data set rows. `where` names file and row, `field` the field; both stand in the error, a
 * `bad-file`.
 */
import { PicasoError } from "../../errors.js";

export function badField(where: string, field: string, expected: string, found: string, cause?: unknown): PicasoError {
  const next = "Check that the file is the data set and version this reader is for, complete and unchanged.";
  return new PicasoError("bad-file", { where: `${where}, ${field}`, expected, found, next, cause });
}

/** The value as an object of named fields. */
export function objectField(value: unknown, where: string, field: string): Record<string, unknown> {
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw badField(where, field, "an object", kindOf(value));
  }
  return value as Record<string, unknown>;
}

export function listField(value: unknown, where: string, field: string): unknown[] {
  if (!Array.isArray(value)) throw badField(where, field, "a list", kindOf(value));
  return value;
}

export function stringField(value: unknown, where: string, field: string): string {
  if (typeof value !== "string") throw badField(where, field, "a string", kindOf(value));
  return value;
}

/** A string with something in it besides whitespace. */
export function textField(value: unknown, where: string, field: string): string {
  const text = stringField(value, where, field);
  if (text.trim() === "") throw badField(where, field, "text", "an empty string");
  return text;
}

export function integerField(value: unknown, where: string, field: string, min: number): number {
  if (!Number.isSafeInteger(value) || (value as number) < min) {
    throw badField(where, field, `a whole number from ${min}`, kindOf(value));
  }
  return value as number;
}

/** What a JSON value is, for error messages: never its content, which may be long. */
export function kindOf(value: unknown): string {
  if (value === undefined) return "nothing";
  if (value === null) return "null";
  if (Array.isArray(value)) return `a list of ${value.length}`;
  if (typeof value === "object") return "an object";
  return typeof value === "number" || typeof value === "boolean" ? String(value) : `a ${typeof value}`;
}
