/** What a store keeps of documents and passages, and what it is given. */
import type { Codec } from "../state/codec.js";

/** A passage to be listed; its state is in the store already. */
export interface NewPassage {
  /** Its number in the document, from 0. */
  position: number;
  /** Offsets into the document's text (UTF-16 units): first character, and behind the last one. */
  start: number;
  end: number;
  text: string;
  /** Tokens that the state stands for. */
  tokens: number;
  stateId: string;
  /** SHA-256 of the text in UTF-8, hexadecimal. */
  textHash: string;
}

/** A document as it is now. */
export interface NewDocument {
  /** Where it comes from; unique in a store. */
  source: string;
  /** Absolute path of the file that holds it. */
  file: string;
  /** Changes when the text or the settings change that its passages depend on. */
  signature: string;
  passages: NewPassage[];
}

/** A passage as the catalog has it. */
export interface StoredPassage extends NewPassage {
  /** 16 hexadecimal digits, made of source, position and text. */
  id: string;
  source: string;
  file: string;
  /** Exact size of the state's file. */
  stateBytes: number;
  codec: Codec;
  /** Of the document. */
  signature: string;
}

/** What the catalog knows of a document. */
export interface StoredDocument {
  file: string;
  signature: string;
  passages: number;
  /** False when a state's file is missing or has another size: the document has to be indexed again. */
  whole: boolean;
}

export interface SearchHit {
  passage: StoredPassage;
  /** BM25: higher is better; comparable within one search only. */
  score: number;
}
