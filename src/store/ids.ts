/** Names made of content: equal content has equal names, on every machine and in every run. */
import { createHash } from "node:crypto";
import { PicasoError } from "../errors.js";

/** Hexadecimal digits of a passage's id; shorter unique beginnings are accepted from users. */
export const PASSAGE_ID_DIGITS = 16;

/** Hexadecimal digits of a state's id. */
export const STATE_ID_DIGITS = 32;

/**
 * The id of the state that a model with this fingerprint has after these tokens: 32 hexadecimal digits of SHA-256.
 * Throws `bad-argument` for tokens that are no token ids.
 */
export function stateId(fingerprint: string, tokens: ArrayLike<number>): string {
  const bytes = new DataView(new ArrayBuffer(4 * tokens.length));
  for (let i = 0; i < tokens.length; i++) {
    const token = tokens[i]!;
    if (!Number.isInteger(token) || token < 0 || token > 0xffffffff) {
      throw new PicasoError("bad-argument", {
        where: `tokens, number ${i}`,
        expected: "a token id, a whole number from 0",
        found: String(token),
        next: "Pass the ids that the model's tokenizer gives.",
      });
    }
    bytes.setUint32(4 * i, token, true);
  }
  return digest(fingerprint, new Uint8Array(bytes.buffer)).slice(0, STATE_ID_DIGITS);
}

/** The id of a passage: what it says and where it stands. */
export function passageId(source: string, position: number, text: string): string {
  return digest(source, String(position), text).slice(0, PASSAGE_ID_DIGITS);
}

/** The key of a place in a document: at most one passage of the catalog has it. */
export function placeKey(source: string, position: number): string {
  return digest(source, String(position)).slice(0, 32);
}

/** SHA-256 of a passage's text in UTF-8, hexadecimal. */
export function hashText(text: string): string {
  return createHash("sha256").update(text, "utf8").digest("hex");
}

/** Each part is preceded by its length, so that no two lists of parts look alike. */
function digest(...parts: (string | Uint8Array)[]): string {
  const hash = createHash("sha256");
  for (const part of parts) {
    const bytes = typeof part === "string" ? Buffer.from(part, "utf8") : part;
    hash.update(`${bytes.length}:`).update(bytes);
  }
  return hash.digest("hex");
}
