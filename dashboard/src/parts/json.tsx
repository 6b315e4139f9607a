/** JSON of unknown size and origin: 4 KB at first, a tree on demand, nothing above 256 KB but a download. */

import { useSignal } from "@preact/signals";
import type { JSX } from "preact";

export const PREVIEW = 4096;
export const TREE = 256 * 1024;
const CHILDREN = 200;

export function JsonView({ value, label }: { value: unknown; label: string }): JSX.Element {
  const tree = useSignal(false);
  const text = JSON.stringify(value, null, 2) ?? "undefined";
  if (text.length <= PREVIEW) return <pre class="json" tabIndex={0} aria-label={label} dir="auto">{text}</pre>;
  if (text.length > TREE) return <Cut text={text} label={label} note={`the first 4 KB of ${Math.round(text.length / 1024)} KB`} />;
  return (
    <>
      {tree.value ? <Node name={label} value={value} open /> : <Cut text={text} label={label} note="the first 4 KB" />}
      <button type="button" class="quiet" onClick={() => (tree.value = !tree.value)}>
        {tree.value ? "As text" : "As a tree"}
      </button>
    </>
  );
}

export function Cut({ text, label, note }: { text: string; label: string; note: string }): JSX.Element {
  return (
    <>
      <pre class="json" tabIndex={0} aria-label={label} dir="auto">
        {text.slice(0, PREVIEW)}
      </pre>
      <p class="muted">{note}</p>
    </>
  );
}

function Node({ name, value, open = false }: { name: string; value: unknown; open?: boolean }): JSX.Element {
  const shown = useSignal(open);
  if (value === null || typeof value !== "object") {
    return (
      <div class="leaf" dir="auto">
        <span class="muted">{name}:</span> {JSON.stringify(value)?.slice(0, PREVIEW)}
      </div>
    );
  }
  const entries = Object.entries(value);
  return (
    <details class="tree" open={open} onToggle={(event) => (shown.value = event.currentTarget.open)}>
      <summary dir="auto">
        {name} <span class="muted">{Array.isArray(value) ? `[${entries.length}]` : `{${entries.length}}`}</span>
      </summary>
      {shown.value && entries.slice(0, CHILDREN).map(([key, child]) => <Node key={key} name={key} value={child} />)}
      {shown.value && entries.length > CHILDREN && <p class="muted">and {entries.length - CHILDREN} more</p>}
    </details>
  );
}
