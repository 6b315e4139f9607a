/** How long a job waited and ran, as far as its row tells: of the latest attempt, and of none while it waits for the next. */

import type { Attempt, Job } from "../../api/types.ts";
import { since } from "../../format.ts";

type Told = Pick<Job, "state" | "created_at" | "queued_at" | "started_at" | "finished_at" | "timings">;

/** In the queue before the latest start, or so far; null while its time has not come. */
export function waited(job: Told, at: number): number | null {
  if (job.state === "waiting") return null;
  const told = job.timings["queue_s"];
  if (told !== undefined && !again(job)) return told;
  const end = again(job) ? job.finished_at : (job.started_at ?? job.finished_at);
  return since(job.queued_at ?? job.created_at, end ? Date.parse(end) : at);
}

/** Of the latest attempt, so far while it runs; null where none runs or was the last. */
export function ran(job: Told, at: number): number | null {
  if (!job.started_at || job.state === "waiting" || again(job)) return null;
  return since(job.started_at, job.finished_at ? Date.parse(job.finished_at) : at);
}

/** Whether it went back into the queue after its latest start: that was of an attempt before. */
function again(job: Told): boolean {
  return !!job.started_at && (job.state === "queued" || (!!job.queued_at && Date.parse(job.queued_at) > Date.parse(job.started_at)));
}

/** What became of an attempt. Its row says what became of the job: one that failed and is followed by another left it waiting. */
export function outcome({ outcome: told }: Pick<Attempt, "outcome">): string {
  return told === "waiting" ? "failed, to be run again" : told.replaceAll("_", " ");
}
