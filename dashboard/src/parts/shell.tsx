/** What surrounds every page: where to go, how live the figures are, who is logged in. */

import type { ComponentChildren, JSX } from "preact";
import { useEffect, useRef } from "preact/hooks";
import { duration } from "../format.ts";
import { GO, helpOpen, useKeys } from "../keys.ts";
import { dimmed, paused, status, togglePause, type Status } from "../live/socket.ts";
import { go, href, route } from "../router.ts";
import { board, logout, operates, session } from "../session.ts";
import { theme, toggleTheme } from "../theme.ts";
import { act } from "./toasts.tsx";

interface Entry {
  path: string;
  name: string;
  operator?: boolean;
}

const ENTRIES: Entry[] = [
  { path: "", name: "Overview" },
  { path: "jobs", name: "Jobs" },
  { path: "failures", name: "Failures" },
  { path: "queues", name: "Queues", operator: true },
  { path: "workers", name: "Workers", operator: true },
  { path: "scaler", name: "Scaler", operator: true },
  { path: "models", name: "Models" },
  { path: "settings", name: "Settings" },
];

function words(said: Status): string {
  switch (said.kind) {
    case "stale":
      return `Stale ${duration(said.seconds)}`;
    case "live":
      return "Live";
    case "paused":
      return "Paused";
    case "connecting":
      return "Connecting";
    default:
      return "Offline";
  }
}

const MEANING = {
  live: "Changes are shown as they happen. Click, or press p, to pause.",
  paused: "Changes are not shown. Click, or press p, to go on.",
  stale: "Nothing was heard of the gateway for a while: what is shown may be old.",
  offline: "No connection to the gateway: what is shown is old. It is tried again by itself.",
  connecting: "The live connection is being made.",
};

function LiveDot(): JSX.Element {
  const said = status.value;
  return (
    <button type="button" class={`live live-${said.kind}`} onClick={togglePause} title={MEANING[said.kind]} aria-label={`Updates: ${words(said)}`} aria-pressed={paused.value}>
      <span class="dot" aria-hidden="true" />
      <span role="status">{words(said)}</span>
    </button>
  );
}

export function Shell({ children }: { children: ComponentChildren }): JSX.Element {
  useKeys({
    "?": () => (helpOpen.value = true),
    p: togglePause,
    "/": () => {
      const search = document.querySelector<HTMLInputElement>("[data-search]");
      if (search) search.focus();
      else go(["jobs"]);
    },
    ".": () => document.querySelector<HTMLElement>("[data-actions] button:not(:disabled, .quiet)")?.focus(),
  });
  return (
    <>
      <a class="skip" href="#content" onClick={skip}>
        Skip to the content
      </a>
      <Header />
      <main id="content" tabIndex={-1} class={dimmed.value ? "dimmed" : ""}>
        {children}
      </main>
      {helpOpen.value && <Help />}
    </>
  );
}

function skip(event: Event): void {
  event.preventDefault();
  document.getElementById("content")?.focus();
}

function Header(): JSX.Element {
  const here = route.value.path[0] ?? "";
  return (
    <header class="top">
      <a class="brand" href={href([])} aria-label="Leveret: overview">
        Leveret
      </a>
      <nav aria-label="Pages">
        {ENTRIES.filter((entry) => !entry.operator || operates()).map(({ path, name }) => (
          <a key={path} href={href(path ? [path] : [])} aria-current={path === here ? "page" : undefined}>
            {name}
          </a>
        ))}
        {board("leveret-overview") && (
          <a href={board("leveret-overview")!} target="_blank" rel="noreferrer">
            Grafana ↗
          </a>
        )}
      </nav>
      <div class="corner">
        <LiveDot />
        <button type="button" class="quiet" onClick={toggleTheme} aria-label={theme.value === "dark" ? "Light colours" : "Dark colours"} title="Light or dark">
          {theme.value === "dark" ? "☀" : "☾"}
        </button>
        <button type="button" class="quiet" onClick={() => (helpOpen.value = true)} aria-label="Keyboard help" title="Keyboard help (?)">
          ?
        </button>
        <Who />
      </div>
    </header>
  );
}

function Who(): JSX.Element {
  const { tenant, name, role } = session.value!;
  return (
    <>
      <span class="who" title={`${tenant}/${name}, ${role}`} dir="auto">
        {tenant}/{name}
      </span>
      <button type="button" class="quiet" onClick={() => void act("Logged out", logout)}>
        Log out
      </button>
    </>
  );
}

const KEYS: [string, string][] = [
  ["/", "Search"],
  ["j  k", "Next, previous row"],
  ["Enter", "Open the row"],
  ["x", "Select the row"],
  [".", "To the page's actions"],
  ["p", "Pause or go on"],
  ["?", "This list"],
  ...Object.entries(GO).map(([key, [, name]]): [string, string] => [`g ${key}`, name]),
];

function Help(): JSX.Element {
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => dialog.current?.showModal(), []);
  return (
    <dialog ref={dialog} aria-labelledby="help-title" onClose={() => (helpOpen.value = false)}>
      <h2 id="help-title">Keys</h2>
      <dl class="keys">
        {KEYS.map(([key, text]) => (
          <div key={key}>
            <dt>
              <kbd>{key}</kbd>
            </dt>
            <dd>{text}</dd>
          </div>
        ))}
      </dl>
      <form method="dialog">
        <button>Close</button>
      </form>
    </dialog>
  );
}
