/** One job, followed: its document is read anew at each step of its life, progress comes straight off the socket. */

import { signal, type Signal } from "@preact/signals";
import { useEffect, useMemo } from "preact/hooks";
import { listJobs, readJob } from "../api/jobs.ts";
import type { Job, JobRow } from "../api/types.ts";
import { useResource, type Resource } from "../parts/resource.ts";
import { paused, useLive } from "./socket.ts";

const REASON_MS = 2000;
/** How fast a worker comes is looked at while somebody watches it come. */
const SOON_MS = 400;
const SOON_FOR = 40;

export const ended = (state: string): boolean => state === "succeeded" || state === "failed" || state === "canceled" || state === "expired";

export interface Followed extends Resource<Job> {
  /** Since and until when the gateway said that no worker was ready for it yet, or one started; null if it never did. */
  starting: Signal<{ since: number; until: number | null } | null>;
}

/** The document, and what only the list knows of it: its worker, and what it failed like others do. */
async function readWhole(id: string, abort: AbortSignal): Promise<Job> {
  const [job, page] = await Promise.all([readJob(id, abort), listJobs({ id, limit: 1 }, abort).catch(() => null)]);
  return { ...page?.jobs[0], ...job };
}

export function useJob(id: string): Followed {
  const resource = useResource((abort) => readWhole(id, abort), [id]);
  const starting = useMemo((): Followed["starting"] => signal(null), [id]);
  const job = resource.data;
  useLive(
    ["jobs"],
    (frame) => {
      const row = frame.jobs?.find((one) => one.id === id) as JobRow | undefined;
      const known = job.peek();
      if (!row || !known || row.seq < known.seq) return;
      if (row.seq > known.seq) void resource.reload();
      else if (!known.done) job.value = { ...known, progress: row.progress, cancel_requested: row.cancel_requested, queue_reason: row.queue_reason };
    },
    () => void resource.reload(),
    { ids: [id] },
  );
  const state = job.value?.state;
  const now = state === "queued" && (job.value?.queue_reason === "worker_starting" || job.value?.queue_reason === "no_worker");
  useEffect(() => {
    const known = starting.peek();
    if (now && !known) starting.value = { since: performance.now(), until: null };
    else if (!now && known?.until === null) starting.value = { ...known, until: performance.now() };
  }, [now]);
  useEffect(() => {
    // Why a job waits is worked out when it is read: no event tells that it changed.
    if (state !== "queued" && state !== "waiting") return undefined;
    let [timer, looks] = [0, 0];
    const look = (): void => {
      void (document.hidden || paused.peek() || resource.reload());
      timer = setTimeout(look, ++looks < SOON_FOR ? SOON_MS : REASON_MS);
    };
    timer = setTimeout(look, SOON_MS);
    return () => clearTimeout(timer);
  }, [state, resource]);
  return { ...resource, data: resource.data, problem: resource.problem, reload: () => resource.reload(), starting };
}
