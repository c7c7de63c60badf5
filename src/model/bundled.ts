import { fileURLToPath } from "node:url";

/** Folder of the model that comes with the package: the one used where no other is named. */
export const bundledModel = fileURLToPath(new URL("../../models/mamba2-26m-base", import.meta.url));
