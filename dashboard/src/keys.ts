/** The keyboard map. Off while somebody types, and while a dialog is open but for what the dialog does itself. */

import { signal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { go } from "./router.ts";

export const GO: Record<string, [string, string]> = {
  o: ["", "Overview"],
  j: ["jobs", "Jobs"],
  f: ["failures", "Failures"],
  q: ["queues", "Queues"],
  w: ["workers", "Workers"],
  s: ["scaler", "Scaler"],
  m: ["models", "Models"],
};

export const helpOpen = signal(false);

type Handler = (event: KeyboardEvent) => void;
const layers: Record<string, Handler>[] = [];
const GO_MS = 1200;
let goUntil = 0;

/** Keys of a page or a table, for as long as it is shown; the latest shown wins. */
export function useKeys(keys: Record<string, Handler>, active = true): void {
  useEffect(() => {
    if (!active) return undefined;
    layers.push(keys);
    return () => void layers.splice(layers.indexOf(keys), 1);
  });
}

function typing(target: EventTarget | null): boolean {
  return target instanceof HTMLElement && (target.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName));
}

addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || typing(event.target) || document.querySelector("dialog[open]")) return;
  if (goUntil > performance.now() && GO[event.key]) {
    goUntil = 0;
    event.preventDefault();
    go(GO[event.key]![0].split("/").filter(Boolean));
    return;
  }
  goUntil = event.key === "g" ? performance.now() + GO_MS : 0;
  const handler = layers.findLast((keys) => event.key in keys)?.[event.key];
  // Enter and Space belong to the button or link that has the focus.
  if (!handler || (event.key === "Enter" && event.target instanceof HTMLElement && event.target.matches("a,button,summary"))) return;
  event.preventDefault();
  handler(event);
});
