/** Numbers as people read them. */

const byteUnits = ["B", "kB", "MB", "GB", "TB"];

export function bytes(count: number): string {
  const power = Math.min(byteUnits.length - 1, Math.max(0, Math.floor(Math.log10(Math.max(1, count)) / 3)));
  const value = count / 1000 ** power;
  return `${power === 0 || value >= 100 ? Math.round(value) : value.toFixed(1)} ${byteUnits[power]}`;
}

export function quantity(count: number, unit: string): string {
  if (unit === "bytes") return bytes(count);
  const value = count >= 10 || Number.isInteger(count) ? Math.round(count) : Number(count.toFixed(1));
  return `${value.toLocaleString("en")} ${value === 1 ? unit.replace(/s$/, "") : unit}`;
}

/** Four digits: 0.0001234, 1.234, 1,234. */
export function figure(value: number): string {
  if (Math.abs(value) >= 1000) return Math.round(value).toLocaleString("en");
  return String(Number(value.toPrecision(4)));
}

export function duration(seconds: number): string {
  if (seconds < 1) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 60) return `${seconds.toFixed(seconds < 10 ? 1 : 0)} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} min ${Math.round(seconds % 60)} s`;
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

/** Rows as aligned columns; numbers stand to the right. */
export function table(rows: readonly (readonly (string | number)[])[]): string {
  const cells = rows.map((row) => row.map((cell) => (typeof cell === "number" ? cell.toLocaleString("en") : cell)));
  const widths = (cells[0] ?? []).map((_, column) => Math.max(...cells.map((row) => row[column]!.length)));
  const isNumber = widths.map((_, column) => rows.some((row) => typeof row[column] === "number"));
  const lines = cells.map((row) =>
    row
      .map((cell, column) => (isNumber[column] ? cell.padStart(widths[column]!) : cell.padEnd(widths[column]!)))
      .join("  ")
      .trimEnd(),
  );
  return `${lines.join("\n")}\n`;
}

/** A path as short as it can be written from here. */
export function shortPath(path: string, from = process.cwd()): string {
  return path.startsWith(`${from}/`) ? path.slice(from.length + 1) : path;
}
