/** Where a job's time went. Waiting has a scale of its own: hours in a queue must not hide the milliseconds of a run. */

import type { JSX } from "preact";
import type { Job } from "../../api/types.ts";
import { exactNow, now } from "../../clock.ts";
import { duration, NONE } from "../../format.ts";
import { ran, waited } from "./phases.ts";

/** In the order of the work, and how they are called; a wait between two stages is told with that before the first. */
export const STAGES: Record<string, string> = { fetch: "fetch", turn: "waits its turn", load: "load", prepare: "prepare", infer: "infer", finish: "finish", store: "store" };

export function Timeline({ job }: { job: Job }): JSX.Element {
  const ticking = !job.finished_at;
  const at = ticking ? (now.value, exactNow()) : 0;
  const run = ran(job, at);
  return (
    <section class="timeline" aria-label="Phases">
      <Bar name="Queue" total={waited(job, at)} parts={[]} open={job.state === "queued"} />
      <Bar name="Run" total={run} parts={run === null ? [] : stages(job)} open={job.state === "running"} />
    </section>
  );
}

interface Part {
  stage: string;
  name: string;
  s: number;
}

function stages(job: Job): Part[] {
  const parts = Object.entries(STAGES).map(([stage, name]) => ({ stage, name, s: job.timings[`${stage}_s`] ?? 0 }));
  return parts.filter((part) => part.s > 0);
}

function Bar({ name, total, parts, open }: { name: string; total: number | null; parts: Part[]; open: boolean }): JSX.Element {
  const sum = parts.reduce((s, part) => s + part.s, 0);
  const scale = Math.max(total ?? 0, sum) || 1;
  return (
    <div class="phase">
      <b>{name}</b>
      <span class="right">{total === null ? NONE : duration(total)}</span>
      <div class={`bar ${open ? "open" : ""} ${total === null ? "none" : ""}`} aria-hidden="true">
        {parts.map((part, index) => (
          <i key={part.name} class={`part ${part.stage === "turn" ? "part-turn" : `part-${index % 2}`}`} style={{ width: `${Math.max(0.4, (part.s / scale) * 100)}%` }} title={`${part.name} ${duration(part.s)}`} />
        ))}
      </div>
      {parts.length > 0 && (
        <p class="parts muted">
          {parts.map((part) => (
            <span key={part.name}>
              {part.name} <b>{duration(part.s)}</b>
            </span>
          ))}
        </p>
      )}
    </div>
  );
}
