/** The server's clock: ages are counted by it, whatever this machine's own clock says. Ticks once a second, not when hidden. */

import { signal } from "@preact/signals";

let offsetMs = 0;

/** Milliseconds since the epoch by the server's clock, once a second. */
export const now = signal(Date.now());

export const exactNow = (): number => Date.now() + offsetMs;

const NOISE_MS = 500;

export function setServerTime(at: string): void {
  const offset = Date.parse(at) - Date.now();
  if (Number.isNaN(offset) || Math.abs(offset - offsetMs) < NOISE_MS) return;
  offsetMs = offset;
  now.value = exactNow();
}

setInterval(() => {
  if (!document.hidden) now.value = exactNow();
}, 1000);
document.addEventListener("visibilitychange", () => {
  if (!document.hidden) now.value = exactNow();
});
