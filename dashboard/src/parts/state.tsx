/** A job's state: a shape and a colour for the mark, ink for the word. Shapes differ, so grey is enough to tell them apart. */

import type { JSX } from "preact";
import type { JobRow, State } from "../api/types.ts";

export type Shown = State | "retrying" | "scheduled" | "draining";

const SHAPES: Record<Shown, JSX.Element> = {
  queued: <circle cx="8" cy="8" r="5" />,
  scheduled: <circle cx="8" cy="8" r="5" stroke-dasharray="2.2 2" />,
  waiting: <circle cx="8" cy="8" r="5" stroke-dasharray="2.2 2" />,
  running: (
    <>
      <circle cx="8" cy="8" r="5.5" class="track" />
      <path d="M8 2.5A5.5 5.5 0 0 1 13.5 8" class="arc" />
    </>
  ),
  retrying: <path d="M13 8a5 5 0 1 1-1.6-3.7M13 2v3h-3" />,
  draining: <path d="M13 8a5 5 0 1 1-1.6-3.7M13 2v3h-3" />,
  succeeded: <path d="M3 8.5l3.3 3.3L13 4.8" />,
  failed: <path d="M4 4l8 8M12 4l-8 8" />,
  canceled: <path d="M3 8a5 5 0 1 1 10 0a5 5 0 1 1-10 0M4.5 11.5l7-7" />,
  expired: <path d="M3 8a5 5 0 1 1 10 0a5 5 0 1 1-10 0M8 5v3l2 1.5" />,
};

/** Waiting means two things: for its time, or for the next attempt. */
export function shownState(job: Pick<JobRow, "state" | "attempt">): Shown {
  if (job.state !== "waiting") return job.state;
  return job.attempt > 0 ? "retrying" : "scheduled";
}

export function Mark({ state }: { state: Shown }): JSX.Element {
  return (
    <svg class={`mark mark-${state}`} viewBox="0 0 16 16" width="14" height="14" aria-hidden="true">
      {SHAPES[state] ?? SHAPES.queued}
    </svg>
  );
}

export function StateLabel({ job }: { job: Pick<JobRow, "state" | "attempt" | "cancel_requested"> }): JSX.Element {
  const state = shownState(job);
  const asked = job.cancel_requested && job.state === "running";
  return (
    <span class="state">
      <Mark state={state} />
      {asked ? "canceling" : state}
    </span>
  );
}

/** Why a job waits, in words. */
export const REASONS: Record<string, string> = {
  backlog: "others are before it",
  no_worker: "no worker serves this queue",
  worker_starting: "a worker is starting",
  waiting_on_dependency: "waits for another job",
  scheduled: "its time has not come",
  paused: "the queue is paused",
  in_worker: "its worker is at work on others, or fetches its inputs",
};

export function reason(code: string | null | undefined): string {
  return code ? (REASONS[code] ?? code.replaceAll("_", " ")) : "";
}
