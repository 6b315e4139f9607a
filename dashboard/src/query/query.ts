/** The query bar's language: `state:failed model:cutout age:>5m error:"out of memory"`. Pure, tested by tests/query.test.ts. */

export const QUALIFIERS = ["state", "model", "queue", "priority", "worker", "error", "fingerprint", "retried", "age", "ended"] as const;
export type Qualifier = (typeof QUALIFIERS)[number];
export type Filter = Partial<Record<Qualifier, string>>;

export interface Parsed {
  filter: Filter;
  /** A pasted id: the page jumps to it. */
  id: string | null;
  /** What was not understood, in words. */
  problems: string[];
}

export const STATES = ["waiting", "queued", "running", "succeeded", "failed", "canceled", "expired"] as const;

const WORD = /(?:([a-z_]+):)?(?:"((?:[^"\\]|\\.)*)"|(\S+))/gi;
const ID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;
const AGE = /^[<>]\d{1,9}(s|m|h|d)$/;
const PRIORITY = /^(10|\d)$/;
export const RETRIED = ["yes", "no", "any"] as const;

const isQualifier = (name: string): name is Qualifier => (QUALIFIERS as readonly string[]).includes(name);

/** Read what was typed. */
export function parse(text: string): Parsed {
  const parsed: Parsed = { filter: {}, id: null, problems: [] };
  for (const [whole, name, quoted, bare] of text.trim().matchAll(WORD)) {
    const value = quoted === undefined ? (bare ?? "") : quoted.replace(/\\(.)/g, "$1");
    take(parsed, whole, name?.toLowerCase(), value);
  }
  return parsed;
}

function take(parsed: Parsed, whole: string, name: string | undefined, value: string): void {
  if (name === undefined && ID.test(value)) parsed.id = value.toLowerCase();
  else if (name === undefined) parsed.problems.push(`“${whole}” is neither an id nor a qualifier such as state:failed`);
  else if (!isQualifier(name)) parsed.problems.push(`there is no qualifier “${name}:”; there are ${QUALIFIERS.join(", ")}`);
  else if (problemOf(name, value)) parsed.problems.push(problemOf(name, value)!);
  else parsed.filter[name] = value;
}

function problemOf(name: Qualifier, value: string): string | null {
  if (!value) return `“${name}:” has no value`;
  if ((name === "age" || name === "ended") && !AGE.test(value)) return `${name} takes > or <, a whole number and s, m, h or d: ${name === "age" ? "age:>5m" : "ended:<1h"}`;
  if (name === "priority" && !PRIORITY.test(value)) return "priority is 0 to 10: priority:9";
  if (name === "retried" && !(RETRIED as readonly string[]).includes(value)) return `retried takes ${RETRIED.join(", ")}: retried:no`;
  const unknown = value.split(",").filter((state) => !(STATES as readonly string[]).includes(state));
  return name === "state" && unknown.length ? `there is no state “${unknown[0]}”; there are ${STATES.join(", ")}` : null;
}

/** The filter as one would type it: `parse(write(f)).filter` is `f`. */
export function write(filter: Filter): string {
  return QUALIFIERS.filter((name) => filter[name])
    .map((name) => `${name}:${quote(filter[name]!)}`)
    .join(" ");
}

function quote(value: string): string {
  return /^[^\s"\\]+$/.test(value) ? value : `"${value.replace(/["\\]/g, "\\$&")}"`;
}

/** What could come next at the end of the text: qualifiers, then their known values. */
export function suggest(text: string, values: Partial<Record<Qualifier, readonly string[]>>, limit = 8): string[] {
  const last = /\S*$/.exec(text)![0];
  const before = text.slice(0, text.length - last.length);
  const colon = last.indexOf(":");
  if (colon < 0) {
    const open = QUALIFIERS.filter((name) => name.startsWith(last.toLowerCase()) && !text.includes(`${name}:`));
    return open.map((name) => `${before}${name}:`).slice(0, limit);
  }
  const name = last.slice(0, colon);
  const begun = last.slice(colon + 1).toLowerCase();
  const known = isQualifier(name) ? (values[name] ?? []) : [];
  const fitting = known.filter((value) => value.toLowerCase().startsWith(begun) && value.toLowerCase() !== begun);
  return fitting.map((value) => `${before}${name}:${quote(value)}`).slice(0, limit);
}

/** A window as the language says it: the shortest of s, m, h, d that is exact. */
export function lately(seconds: number): string {
  for (const [size, unit] of [[86400, "d"], [3600, "h"], [60, "m"]] as const) if (seconds >= size && seconds % size === 0) return `<${seconds / size}${unit}`;
  return `<${Math.ceil(seconds)}s`;
}

/** The filter as the API takes it: several states are a list. */
export function parameters(filter: Filter): Record<string, string | string[]> {
  const said = QUALIFIERS.filter((name) => filter[name]);
  return Object.fromEntries(said.map((name) => [name, name === "state" ? filter.state!.split(",") : filter[name]!]));
}
