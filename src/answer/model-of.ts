import { PicasoError } from "../errors.js";
import type { LanguageModel } from "../model/language-model.js";
import type { StateStore } from "../store/store.js";

/** The model a store was opened with. Throws `bad-argument` where it was opened without. */
export function modelOf(store: StateStore<LanguageModel>): LanguageModel {
  if (store.model) return store.model;
  throw new PicasoError("bad-argument", {
    where: store.directory,
    expected: "a store opened with its model",
    found: "one opened without",
    next: "Open it with `StateStore.open(directory, { model })`.",
  });
}
