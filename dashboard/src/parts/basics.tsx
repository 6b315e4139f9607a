/** Small things that every page uses. Text from the outside is only ever a text node. */

import { useSignal } from "@preact/signals";
import type { ComponentChildren, JSX } from "preact";
import { useEffect } from "preact/hooks";
import type { ApiProblem } from "../api/client.ts";
import { now } from "../clock.ts";
import { absolute, ago } from "../format.ts";
import { toast } from "./toasts.tsx";
import type { Resource } from "./resource.ts";

/** Relative time; the absolute one with its zone on hover. */
export function Ago({ at }: { at: string | null | undefined }): JSX.Element {
  return (
    <time dateTime={at ?? ""} title={absolute(at)}>
      {ago(at, now.value)}
    </time>
  );
}

/** Text that may be long or hostile: one line, cut by its box, whole on hover, its own direction. */
export function Clipped({ text, class: kind = "" }: { text: string; class?: string }): JSX.Element {
  return (
    <span class={`clipped ${kind}`} title={text.slice(0, 2000)} dir="auto">
      {text.length > 400 ? `${text.slice(0, 400)}…` : text}
    </span>
  );
}

export async function copy(text: string, what: string): Promise<void> {
  try {
    await navigator.clipboard.writeText(text);
    toast(`${what} copied`);
  } catch {
    toast(`the browser does not let this page copy: select the text instead`, { kind: "failed" });
  }
}

export function CopyButton({ text, what, label = "Copy" }: { text: string; what: string; label?: string }): JSX.Element {
  return (
    <button type="button" class="quiet" onClick={() => void copy(text, what)} aria-label={`Copy ${what}`}>
      {label}
    </button>
  );
}

export function Snippet({ text, what }: { text: string; what: string }): JSX.Element {
  return (
    <div class="snippet">
      <pre tabIndex={0}>{text}</pre>
      <CopyButton text={text} what={what} />
    </div>
  );
}

/** Shown after 200 ms, as tall as what will come: nothing flickers, nothing jumps. */
export function Skeleton({ rows = 8 }: { rows?: number }): JSX.Element {
  const late = useSignal(false);
  useEffect(() => {
    const timer = setTimeout(() => (late.value = true), 200);
    return () => clearTimeout(timer);
  }, []);
  return (
    <div class={`skeleton ${late.value ? "late" : ""}`} role="status" aria-label="Loading">
      {Array.from({ length: rows }, (_, row) => (
        <div key={row} />
      ))}
    </div>
  );
}

export function Failed({ problem, retry }: { problem: ApiProblem; retry: () => void }): JSX.Element {
  return (
    <div class="blank" role="alert">
      <h2>This could not be read</h2>
      <p>{problem.message}</p>
      <p class="muted">
        <code>{problem.code}</code>
        {problem.requestId && (
          <>
            {" "}
            · request <code>{problem.requestId}</code>
          </>
        )}
      </p>
      <button type="button" onClick={retry}>
        Try again
      </button>
    </div>
  );
}

/** A read that failed while older values are shown. */
export function StillOld({ problem, retry, what = "These values are old" }: { problem: ApiProblem; retry: () => void; what?: string }): JSX.Element {
  return (
    <p class="notice warn" role="alert">
      {what}: {problem.message} (<code>{problem.code}</code>){" "}
      <button type="button" class="quiet" onClick={retry}>
        Try again
      </button>
    </p>
  );
}

/** The states of a snapshot in one place: skeleton, failed, old, there. */
export function Loaded<T>({
  of,
  rows,
  children,
}: {
  of: Resource<T>;
  rows?: number;
  children: (data: T) => ComponentChildren;
}): JSX.Element {
  const data = of.data.value;
  const problem = of.problem.value;
  const retry = (): void => void of.reload();
  if (data === null) return problem ? <Failed problem={problem} retry={retry} /> : <Skeleton rows={rows} />;
  return (
    <>
      {problem && <StillOld problem={problem} retry={retry} />}
      {children(data)}
    </>
  );
}

export function Blank({ title, children }: { title: string; children?: ComponentChildren }): JSX.Element {
  return (
    <div class="blank">
      <h2>{title}</h2>
      {children}
    </div>
  );
}

export function Tabs({
  label,
  tabs,
  current,
  choose,
}: {
  label: string;
  tabs: { name: string; text: ComponentChildren }[];
  current: string;
  choose: (name: string) => void;
}): JSX.Element {
  return (
    <div class="tabs" role="tablist" aria-label={label}>
      {tabs.map(({ name, text }) => (
        <button key={name} type="button" role="tab" aria-selected={name === current} onClick={() => choose(name)}>
          {text}
        </button>
      ))}
    </div>
  );
}
