/** Where the page is: path and query live in the address's hash, so that the gateway serves one file and Back just works.
 *
 * Scroll positions are kept per history entry and given back once the page has grown tall enough again. */

import { signal } from "@preact/signals";

export interface Route {
  path: string[];
  query: URLSearchParams;
}

const RESTORE_MS = 3000;

function read(): Route {
  const [path = "", query = ""] = location.hash.replace(/^#\/?/, "").split(/\?(.*)/s);
  return { path: path.split("/").filter(Boolean).map(decode), query: new URLSearchParams(query) };
}

function decode(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part; // typed by hand: a lone % is no reason to fail
  }
}

export const route = signal<Route>(read());

type Query = Record<string, string | number | null | undefined>;

/** The address of a page, for links. */
export function href(path: string[], query: Query = {}): string {
  const said = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) if (value !== null && value !== undefined && value !== "") said.set(name, String(value));
  const text = said.toString();
  return `#/${path.map(encodeURIComponent).join("/")}${text ? `?${text}` : ""}`;
}

export function go(path: string[], query: Query = {}): void {
  location.hash = href(path, query);
}

/** Change some of the query; null removes. `replace` for what nobody wants to go Back to. */
export function setQuery(changes: Query, { replace = false } = {}): void {
  const query = { ...Object.fromEntries(route.value.query), ...changes };
  const target = href(route.value.path, query);
  if (!replace) {
    location.hash = target;
    return;
  }
  history.replaceState(history.state, "", target);
  route.value = read();
}

const positions = new Map<string, number>();
let entry = entryOf(history.state);
let restoring = 0;

function entryOf(state: unknown): string {
  if (state && typeof state === "object" && "entry" in state) return String(state.entry);
  const fresh = `${Date.now()}-${Math.random()}`;
  history.replaceState({ entry: fresh }, "");
  return fresh;
}

function restore(to: number): void {
  const until = performance.now() + RESTORE_MS;
  const run = ++restoring;
  const attempt = (): void => {
    if (run !== restoring) return;
    scrollTo(0, to);
    if (Math.abs(scrollY - to) > 1 && performance.now() < until) requestAnimationFrame(attempt);
  };
  attempt();
}

for (const stopped of ["wheel", "touchstart", "keydown"]) addEventListener(stopped, () => void restoring++, { passive: true });
addEventListener("scroll", () => positions.set(entry, scrollY), { passive: true });
history.scrollRestoration = "manual";

addEventListener("popstate", (event) => {
  const known = event.state !== null && typeof event.state === "object" && "entry" in event.state;
  const samePage = read().path.join("/") === route.value.path.join("/");
  entry = entryOf(event.state);
  route.value = read();
  if (known) restore(positions.get(entry) ?? 0);
  else if (!samePage) restore(0);
});
