/**
 * Limits how deep the elements of an HTML text are nested, as browsers do, before it is parsed: parsers take time in
 * proportion to the square of the depth, and what walks over their trees is recursive. Deep nesting comes from elements
 * that are never closed, so nothing is lost with it but the elements themselves.
 */

const set = (names: string): Set<string> => new Set(names.split(" "));

/** Elements without content. */
const empty = set("area base br col embed hr img input link meta param source track wbr");

/** Elements whose end tag may be left out, and what ends there where they begin. */
const ends = new Map([
  ["li", set("li")],
  ["dt", set("dt dd")],
  ["dd", set("dt dd")],
  ["tr", set("tr td th")],
  ["td", set("td th")],
  ["th", set("td th")],
  ["thead", set("thead tbody tfoot tr td th")],
  ["tbody", set("thead tbody tfoot tr td th")],
  ["tfoot", set("thead tbody tfoot tr td th")],
  ["option", set("option")],
  ["optgroup", set("option optgroup")],
  ["rt", set("rt rp")],
  ["rp", set("rt rp")],
]);

/** Blocks end a paragraph. */
const blocks = set("p h1 h2 h3 h4 h5 h6 address article aside blockquote details div dl fieldset figure footer form");
for (const name of [...blocks, ..."header main nav ol pre section table ul".split(" ")]) ends.set(name, set("p"));

/** Their content is text up to their end tag. */
const rawText = new Set(["script", "style", "textarea", "title", "xmp"]);

/** The text without the tags of elements that are nested deeper than `limit`. */
export function limitDepth(html: string, limit: number): string {
  const open: string[] = [];
  const dropped = new Map<string, number>();
  const kept: string[] = [];
  let keptTo = 0;
  const tag = /<(?:!--|(\/?)([a-z][^\s/>]*))/gi;
  for (let match = tag.exec(html); match !== null; match = tag.exec(html)) {
    const [begin, slash, rawName] = match;
    if (rawName === undefined) {
      if (!skipTo(html, "-->", tag)) break;
      continue;
    }
    const name = rawName.toLowerCase();
    const end = html.indexOf(">", match.index + begin.length) + 1;
    if (end === 0) break;
    tag.lastIndex = end;
    if (empty.has(name)) continue;
    if (rawText.has(name) && slash === "") {
      if (!skipTo(html, `</${name}`, tag)) break;
      continue;
    }
    if (keeps(name, slash === "/", html[end - 2] === "/")) continue;
    kept.push(html.slice(keptTo, match.index));
    keptTo = end;
  }
  return keptTo === 0 ? html : kept.join("") + html.slice(keptTo);

  /** Notes a tag; false when it belongs to an element that is too deep. */
  function keeps(name: string, isEnd: boolean, isSlashed: boolean): boolean {
    if (isEnd) {
      const count = dropped.get(name) ?? 0;
      if (count > 0) dropped.set(name, count - 1);
      const last = count > 0 ? -1 : open.lastIndexOf(name);
      if (last >= 0) open.length = last;
      return count === 0;
    }
    // Only drawings and formulas inside HTML know elements that end themselves.
    const endsItself = isSlashed && (open.includes("svg") || open.includes("math"));
    if (endsItself) return true;
    while (ends.get(name)?.has(open.at(-1) ?? "")) open.pop();
    const isTooDeep = open.length >= limit;
    if (isTooDeep) dropped.set(name, (dropped.get(name) ?? 0) + 1);
    else open.push(name);
    return !isTooDeep;
  }
}

/** Goes on behind the next `text`, in whatever case; false when there is none. */
function skipTo(html: string, text: string, tag: RegExp): boolean {
  const found = new RegExp(text.replace("/", "\\/"), "gi");
  found.lastIndex = tag.lastIndex;
  if (!found.test(html)) return false;
  tag.lastIndex = found.lastIndex;
  return true;
}
