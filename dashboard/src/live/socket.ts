/** The one WebSocket of the page: what is on screen is subscribed, what came is painted once per frame.
 *
 * Order: open, subscribe, wait for the first frame, then take the snapshots, then apply what comes. A gap in `seq`, a
 * new connection or a tab that is looked at again means new snapshots. A hidden tab asks for nothing. */

import { computed, signal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { address } from "../api/client.ts";
import { exactNow, now, setServerTime } from "../clock.ts";
import { resume, session } from "../session.ts";
import { merge, type Frame } from "./coalesce.ts";

export type Topic = "overview" | "jobs" | "queues" | "workers" | "scaler";

/** Which jobs are on screen, and since which one new ones are counted. */
export interface Watched {
  ids: string[];
  newest?: string;
  /** Of every tenant, for operators. */
  everybody?: boolean;
}

interface Follower {
  topics: Topic[];
  watched: Watched;
  frame(frame: Frame): void;
  /** What is shown may have holes: read it anew. */
  resync(): void;
}

const SILENT_S = 12;
const RETRY_MS = [250, 1000, 2000, 5000, 10_000];
const CLOSED_FOR_GOOD = 1008;

const followers = new Set<Follower>();
let socket: WebSocket | null = null;
let begun = false;
let lastSeq = 0;
let tries = 0;
let retry = 0;
let asked = "";
let pending: Frame | null = null;
let painting = 0;

export const paused = signal(false);
const open = signal(false);
const heardAt = signal(0);
/** The first try went wrong: from then on no connection means offline. */
const tried = signal(false);
/** Topics of which the gateway itself gets no news, and since when. */
const stale = signal<{ topics: ReadonlySet<string>; since: number } | null>(null);

export type Status = { kind: "live" | "paused" | "offline" | "connecting" } | { kind: "stale"; seconds: number };

export const status = computed<Status>(() => {
  if (paused.value) return { kind: "paused" };
  if (!open.value) return { kind: heardAt.value || tried.value ? "offline" : "connecting" };
  const silent = (now.value - heardAt.value) / 1000;
  if (silent > SILENT_S) return { kind: "stale", seconds: Math.round(silent) };
  return stale.value ? { kind: "stale", seconds: Math.max(1, Math.round((now.value - stale.value.since) / 1000)) } : { kind: "live" };
});

/** Whether what is shown may be old: dim it. */
export const dimmed = computed(() => status.value.kind === "offline" || status.value.kind === "stale");

interface Wish {
  subscribe: Topic[];
  ids: string[];
  newest?: string;
  scope?: "all";
}

function wanted(): Wish {
  if (document.hidden || paused.peek()) return { subscribe: [], ids: [] };
  const all = [...followers];
  const wish: Wish = { subscribe: [...new Set(all.flatMap((one) => one.topics))].sort(), ids: [...new Set(all.flatMap((one) => one.watched.ids))].slice(0, 200) };
  const newest = all.find((one) => one.watched.newest)?.watched.newest;
  if (newest) wish.newest = newest;
  if (all.some((one) => one.watched.everybody)) wish.scope = "all";
  return wish;
}

function subscribe(): void {
  const said = JSON.stringify(wanted());
  if (socket?.readyState !== WebSocket.OPEN || said === asked) return;
  asked = said;
  socket.send(said);
}

let subscribing = 0;
/** Rows come and go in bursts: one message for all of them. */
function subscribeSoon(): void {
  clearTimeout(subscribing);
  subscribing = setTimeout(subscribe, 30);
}

function connect(): void {
  clearTimeout(retry);
  if (socket || !session.peek()) return;
  const target = address("v1/live");
  target.protocol = target.protocol === "https:" ? "wss:" : "ws:";
  const made = new WebSocket(target);
  socket = made;
  begun = false;
  asked = "";
  made.onopen = subscribe;
  made.onmessage = (message) => hear(String(message.data));
  made.onclose = (event) => lost(made, event.code);
}

function lost(which: WebSocket, code: number): void {
  if (which !== socket) return;
  socket = null;
  open.value = false;
  tried.value = true;
  if (!session.peek() || code === CLOSED_FOR_GOOD) void resume();
  retry = setTimeout(connect, RETRY_MS[Math.min(tries++, RETRY_MS.length - 1)]! * (0.75 + Math.random() / 2));
}

function hear(text: string): void {
  let frame: Frame;
  try {
    frame = JSON.parse(text) as Frame;
  } catch {
    return; // not ours: the next frame's seq shows the gap
  }
  const gap = begun && frame.seq !== lastSeq + 1;
  const first = !begun;
  begun = true;
  lastSeq = frame.seq;
  tries = 0;
  setServerTime(frame.at);
  heardAt.value = exactNow();
  open.value = true;
  if (paused.peek()) return;
  pending = merge(pending, frame);
  if (!painting) painting = requestAnimationFrame(paint);
  if (first || gap) resyncAll();
}

function paint(): void {
  painting = 0;
  const frame = pending;
  pending = null;
  if (!frame) return;
  noteStale(frame);
  for (const follower of [...followers]) {
    if (frame.resync?.some((topic) => follower.topics.includes(topic as Topic))) follower.resync();
    follower.frame(frame);
  }
}

/** A topic is stale until rows of it come again, or nobody shows it any more. */
function noteStale(frame: Frame): void {
  const known = stale.peek();
  if (!known && !frame.stale) return;
  const shown = wanted().subscribe as string[];
  const topics = [...(known?.topics ?? []), ...(frame.stale ?? [])].filter((topic) => shown.includes(topic) && !(topic in frame));
  stale.value = topics.length ? { topics: new Set(topics), since: known?.since ?? exactNow() } : null;
}

function resyncAll(): void {
  for (const follower of [...followers]) follower.resync();
}

/** Stop or go on showing what comes; going on reads everything anew. */
export function togglePause(): void {
  paused.value = !paused.value;
  subscribe();
  if (!paused.value) resyncAll();
}

document.addEventListener("visibilitychange", () => {
  subscribe();
  if (!document.hidden && !paused.peek()) {
    if (!socket) connect();
    else resyncAll();
  }
});
addEventListener("online", connect);

session.subscribe((who) => {
  if (who) connect();
  else {
    clearTimeout(retry);
    socket?.close();
    socket = null;
    open.value = false;
    heardAt.value = 0;
    stale.value = null;
    tried.value = false;
  }
});

const NOTHING: Watched = { ids: [] };

/** Follow topics for as long as the component is shown. */
export function useLive(topics: Topic[], frame: (frame: Frame) => void, resync: () => void, watched: Watched = NOTHING): void {
  const latest = useRef({ frame, resync });
  latest.current = { frame, resync };
  useEffect(() => {
    const follower: Follower = { topics, watched, frame: (said) => latest.current.frame(said), resync: () => latest.current.resync() };
    followers.add(follower);
    subscribeSoon();
    return () => {
      followers.delete(follower);
      subscribeSoon();
    };
  }, [topics.join(), JSON.stringify(watched)]);
}
