/** The public names of the package. */
export {
  type Answer,
  type AnswerContext,
  type AnswerMethod,
  type AskOptions,
  ask,
} from "./answer/ask.js";
export { composeOnDevice } from "./answer/compose-on-device.js";
export {
  type IndexOptions,
  type IndexProgress,
  type IndexReport,
  indexDocuments,
} from "./answer/index-documents.js";
export { type ComposeOptions, compose } from "./compose/compose.js";
export { type CompositionMethod, compositionMethods, compositionWeights, meanWeights } from "./compose/weights.js";
export { PicasoError, type PicasoErrorCode, type PicasoErrorDetails } from "./errors.js";
export { bundledModel } from "./model/bundled.js";
export type { Mamba2Config } from "./model/config.js";
export { contextTokens, type ModelForm, questionTokens } from "./model/form.js";
export type { GeneratedPiece, GenerateOptions } from "./model/generate.js";
export {
  type ForwardOptions,
  LanguageModel,
  type LoadOptions,
  type ReadRequest,
  type ScoreRequest,
} from "./model/language-model.js";
export type { SamplingOptions } from "./model/sampling.js";
export type { Tokenizer } from "./model/tokenizer.js";
export type { Codec } from "./state/codec.js";
export { ContextState, type ContextStateInit, type StateShape } from "./state/context-state.js";
export {
  type GcReport,
  type NewDocument,
  type OpenOptions,
  type SearchHit,
  StateStore,
  type StoredDocument,
  type StoredPassage,
  type StoreStats,
  type VerifyReport,
} from "./store/store.js";
