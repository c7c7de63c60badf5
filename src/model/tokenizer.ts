/** A model's own tokenizer.json: text to token ids and back. Special tokens are never added by themselves. */
import { Tokenizer as HubTokenizer } from "@huggingface/tokenizers";
import { PicasoError } from "../errors.js";
import { readText } from "./checkpoint/text-file.js";

export class Tokenizer {
  private constructor(private readonly tokenizer: HubTokenizer) {}

  /** Reads a tokenizer.json for a model of `vocabSize` embeddings. Throws `bad-file` when the two do not fit. */
  static async load(path: string, vocabSize: number): Promise<Tokenizer> {
    const text = await readText(path, "tokenizer.json of the model", "tokenizer");
    const { tokenizer, largestId } = parse(text, path);
    if (largestId >= vocabSize) {
      throw new PicasoError("bad-file", {
        where: path,
        expected: `token ids below ${vocabSize}, the model's vocab_size`,
        found: `id ${largestId}`,
        next: "This tokenizer belongs to another model: use the tokenizer.json of this one.",
      });
    }
    return new Tokenizer(tokenizer);
  }

  encode(text: string): number[] {
    if (text === "") return [];
    return this.tokenizer.encode(text, { add_special_tokens: false }).ids;
  }

  /** The special tokens that tokenizer.json wants around a text, such as BERT's [CLS] and [SEP]; empty for none. */
  frame(): { before: number[]; after: number[] } {
    const text = this.encode("a");
    const framed = this.tokenizer.encode("a").ids;
    for (let start = 0; start + text.length <= framed.length; start++) {
      if (text.every((id, i) => framed[start + i] === id)) {
        return { before: framed.slice(0, start), after: framed.slice(start + text.length) };
      }
    }
    throw new PicasoError("unsupported", {
      where: "tokenizer.json, post_processor",
      expected: "special tokens before and after a text, the text's own tokens unchanged",
      found: "other tokens",
      next: "Use a model whose tokenizer puts special tokens around a text only.",
    });
  }

  /** Special tokens are left out of the text. */
  decode(ids: readonly number[]): string {
    if (ids.length === 0) return "";
    return this.tokenizer.decode([...ids], { skip_special_tokens: true, clean_up_tokenization_spaces: false });
  }
}

interface TokenizerFile {
  /** Unigram models list tokens with their scores; the place in the list is the id. */
  model: { vocab: Record<string, number> | unknown[] };
  added_tokens?: { id: number }[];
}

function parse(text: string, where: string): { tokenizer: HubTokenizer; largestId: number } {
  try {
    const file = JSON.parse(text) as TokenizerFile;
    const { vocab } = file.model;
    const own = Array.isArray(vocab) ? [...vocab.keys()] : Object.values(vocab);
    const ids = [...own, ...(file.added_tokens ?? []).map((token) => token.id)];
    if (!ids.every((id) => Number.isInteger(id) && id >= 0)) throw new Error("a token id that is not a whole number");
    const largestId = ids.reduce((a, b) => Math.max(a, b), -1);
    const tokenizer = new HubTokenizer(withUnicodeDigits(file) as object, {});
    rememberWords(tokenizer);
    return { tokenizer, largestId };
  } catch (cause) {
    throw new PicasoError("bad-file", {
      where,
      expected: "a Hugging Face tokenizer.json with model.vocab",
      found: cause instanceof Error ? cause.message : String(cause),
      next: "Download the file again.",
      cause,
    });
  }
}

/** Most words whose tokens are kept: about ten megabytes. */
const maxWords = 50_000;

/** Length of the longest word that is kept. */
const maxWordLength = 64;

/**
 * Keeps the tokens of words seen before. The library does so too, but spends more on finding out which word was used
 * last than on all else.
 */
function rememberWords({ model }: HubTokenizer): void {
  const pairs = model as { bpe?: (word: string) => string[] } | null;
  if (!pairs?.bpe) return;
  const encode = pairs.bpe.bind(pairs);
  const known = new Map<string, string[]>();
  pairs.bpe = (word) => {
    let tokens = known.get(word);
    if (!tokens) {
      tokens = encode(word);
      if (known.size >= maxWords) known.clear();
      if (word.length <= maxWordLength) known.set(word, tokens);
    }
    return tokens;
  };
}

/**
 * The same tokenizer with its `Digits` steps written as patterns: they split at every numeric character of Unicode
 * (as in ` ½`), where the library's own step knows 0 to 9 only.
 */
function withUnicodeDigits(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(withUnicodeDigits);
  if (typeof value !== "object" || value === null) return value;
  if ("type" in value && value.type === "Digits" && "individual_digits" in value) {
    const pattern = { Regex: value.individual_digits ? "\\p{N}" : "\\p{N}+" };
    return { type: "Split", pattern, behavior: "Isolated", invert: false };
  }
  return Object.fromEntries(
    Object.entries(value).map(([key, item]) => [key, key === "model" ? item : withUnicodeDigits(item)]),
  );
}
