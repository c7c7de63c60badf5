/** How values from a model folder's JSON files appear in messages: never longer than a line, whatever the file holds. */

const longest = 80;

/** A JSON value, or `undefined` for a field that is absent, in a few words. */
export function describeJson(value: unknown): string {
  if (value === undefined) return "nothing";
  if (Array.isArray(value)) {
    const short = value.length <= 8 && !value.some(Array.isArray);
    return short ? cut(`[${value.map(describeJson).join(", ")}]`) : `a list of ${value.length}`;
  }
  if (typeof value === "object" && value !== null) {
    // transformers' spelling of numbers that JSON lacks.
    if ("__float__" in value && typeof value.__float__ === "string") return cut(value.__float__);
    return "an object";
  }
  return cut(JSON.stringify(value));
}

function cut(text: string): string {
  return text.length > longest ? `${text.slice(0, longest - 3)}...` : text;
}
