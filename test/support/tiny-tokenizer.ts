/** A valid tokenizer.json for the golden models: byte-level BPE, as small as their vocabularies. */

const specialTokens = ["<|begin|>", "<|padding|>", "<|end|>"];

/** ASCII first, so that a vocabulary too small for all 256 bytes still writes English. */
const bytes = Array.from({ length: 256 }, (_, byte) => byte);

/** Merges that the vocabulary takes up after the bytes, each of two pieces that come before it. */
const merges = ["t h", "th e", "Ġ the", "i n", "e r", "a n", "o n", "r e", "e d", "Ġ a", "Ġ o", "Ġo f", "Ċ Ċ"];

/**
 * The text of a tokenizer.json with the ids 0 (begin), 1 (padding), 2 (end), then bytes, then merged pieces, up to
 * `vocabSize`. Ids that are left over have no token, as in padded vocabularies.
 */
export function tinyTokenizer(vocabSize: number): string {
  const tokens = [...specialTokens, ...bytes.map(byteCharacter)].slice(0, vocabSize);
  const kept = merges.slice(0, vocabSize - tokens.length);
  tokens.push(...kept.map((merge) => merge.replace(" ", "")));
  const byteLevel = { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: true };
  return JSON.stringify({
    version: "1.0",
    truncation: null,
    padding: null,
    added_tokens: specialTokens.map((content, id) => ({ id, content, special: true, normalized: false })),
    normalizer: null,
    pre_tokenizer: byteLevel,
    post_processor: null,
    decoder: byteLevel,
    model: {
      type: "BPE",
      unk_token: null,
      vocab: Object.fromEntries(tokens.map((token, id) => [token, id])),
      merges: kept,
    },
  });
}

/** Id of a byte in {@link tinyTokenizer}. */
export function byteToken(byte: number): number {
  return specialTokens.length + byte;
}

/** The printable character that byte-level BPE writes for a byte. */
function byteCharacter(byte: number): string {
  return String.fromCodePoint(
    isPrintable(byte) ? byte : 256 + bytes.slice(0, byte).filter((b) => !isPrintable(b)).length,
  );
}

function isPrintable(byte: number): boolean {
  return (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
}
