/** A job's row: what it is, how long it waits or runs, and why it stands where it stands. */

import type { JSX } from "preact";
import type { JobRow } from "../../api/types.ts";
import { exactNow, now } from "../../clock.ts";
import { duration, NONE, shortId, since } from "../../format.ts";
import { Ago, Clipped } from "../../parts/basics.tsx";
import { reason, StateLabel } from "../../parts/state.tsx";
import type { Column } from "../../parts/table.tsx";
import { href } from "../../router.ts";

/** In the queue before the latest start, or so far. */
function waited(job: JobRow): number | null {
  if (job.state === "queued") return since(job.queued_at, (now.value, exactNow()));
  if (job.started_at && job.queued_at) return since(job.queued_at, Date.parse(job.started_at));
  return job.wait_s ?? null;
}

function ran(job: JobRow): number | null {
  if (!job.started_at || job.state === "queued") return null;
  if (job.finished_at) return since(job.started_at, Date.parse(job.finished_at));
  return job.state === "running" ? since(job.started_at, (now.value, exactNow())) : (job.run_s ?? null);
}

function why(job: JobRow): JSX.Element | null {
  if (job.error) return <Clipped text={`${job.error.code}: ${job.error.message}`} class={job.state === "failed" ? "bad" : ""} />;
  if (job.state === "queued" || job.state === "waiting") return <span class="muted">{reason(job.queue_reason)}</span>;
  if (job.state === "running" && job.queue_reason) return <span class="muted">{reason(job.queue_reason)}</span>;
  if (job.state === "running" && job.progress > 0) return <progress max={1} value={job.progress} aria-label="Progress" />;
  return null;
}

export const COLUMNS: Column<JobRow>[] = [
  { name: "state", label: "State", first: true, cell: (job) => <StateLabel job={job} /> },
  { name: "id", label: "Id", cell: (job) => <a class="id" href={href(["jobs", job.id])} title={job.id}>{shortId(job.id)}</a> },
  { name: "model", label: "Model", first: true, cell: (job) => <Clipped text={`${job.model}@${job.model_version}`} /> },
  { name: "queue", label: "Queue · priority", cell: (job) => <Clipped text={`${job.queue} · ${job.priority}`} /> },
  { name: "age", label: "Age", right: true, first: true, cell: (job) => <Ago at={job.created_at} /> },
  { name: "wait", label: "Wait", right: true, cell: (job) => duration(waited(job)) },
  { name: "run", label: "Run", right: true, cell: (job) => duration(ran(job)) },
  { name: "attempt", label: "Attempt", right: true, cell: (job) => `${job.attempt}/${job.max_attempts}` },
  { name: "worker", label: "Worker", cell: (job) => <Clipped text={job.worker ?? NONE} /> },
  { name: "why", label: "Error, or why it waits", wide: true, cell: why },
];
