/** What just happened, said once in a corner; reversible things can be taken back there for ten seconds. */

import { signal } from "@preact/signals";
import type { JSX } from "preact";
import { asProblem } from "../api/client.ts";

interface Toast {
  id: number;
  text: string;
  kind: "done" | "failed";
  undo?: () => Promise<void>;
}

const SHOWN_MS = { done: 5000, failed: 12_000, undo: 10_000 };
const toasts = signal<Toast[]>([]);
let last = 0;

export function toast(text: string, { kind = "done", undo }: { kind?: "done" | "failed"; undo?: () => Promise<void> } = {}): void {
  const id = ++last;
  toasts.value = [...toasts.value, { id, text, kind, undo }].slice(-4);
  setTimeout(() => dismiss(id), undo ? SHOWN_MS.undo : SHOWN_MS[kind]);
}

function dismiss(id: number): void {
  toasts.value = toasts.value.filter((one) => one.id !== id);
}

export function failed(error: unknown): void {
  const problem = asProblem(error);
  toast(`${problem.message} (${problem.code})`, { kind: "failed" });
}

/** Do something and say how it went; nothing is shown as done before the gateway said so. */
export async function act(done: string, action: () => Promise<unknown>, undo?: () => Promise<unknown>): Promise<boolean> {
  try {
    await action();
  } catch (error) {
    failed(error);
    return false;
  }
  toast(done, { undo: undo && (async () => void (await act("Undone", undo))) });
  return true;
}

export function Toasts(): JSX.Element {
  return (
    <div class="toasts" role="status" aria-live="polite">
      {toasts.value.map((one) => (
        <div key={one.id} class={`toast ${one.kind}`}>
          <span dir="auto">{one.text}</span>
          {one.undo && (
            <button
              type="button"
              onClick={() => {
                dismiss(one.id);
                void one.undo?.();
              }}
            >
              Undo
            </button>
          )}
          <button type="button" class="quiet" aria-label="Dismiss" onClick={() => dismiss(one.id)}>
            ×
          </button>
        </div>
      ))}
    </div>
  );
}
