/** Each run of a job: where, how long, what it printed, what went wrong. */

import { useSignal } from "@preact/signals";
import type { JSX } from "preact";
import { useEffect } from "preact/hooks";
import { asProblem } from "../../api/client.ts";
import { readAttempts, readLog } from "../../api/jobs.ts";
import type { Attempt } from "../../api/types.ts";
import { absolute, bytes, count, duration, money, NONE } from "../../format.ts";
import { Failed } from "../../parts/basics.tsx";
import { useResource } from "../../parts/resource.ts";
import { Mark, type Shown } from "../../parts/state.tsx";
import { href } from "../../router.ts";
import { currencyOf } from "../../session.ts";
import { outcome } from "./phases.ts";
import { STAGES } from "./timeline.tsx";

const MARKS: Record<string, Shown> = { running: "running", succeeded: "succeeded", failed: "failed", worker_lost: "failed", canceled: "canceled", waiting: "retrying", released: "draining" };

/** @param version Changes when the job has moved: the attempts are read anew. */
export function Attempts({ id, version }: { id: string; version: string }): JSX.Element | null {
  const attempts = useResource((abort) => readAttempts(id, abort), [id]);
  useEffect(() => void attempts.reload(), [version]);
  const known = attempts.data.value;
  if (attempts.problem.value && !known) return <Failed problem={attempts.problem.value} retry={() => void attempts.reload()} />;
  if (!known?.length) return null;
  return (
    <section aria-label="Attempts">
      <h2>Attempts</h2>
      {[...known].reverse().map((attempt, index) => (
        <One key={attempt.fence ?? attempt.attempt} id={id} attempt={attempt} open={index === 0 && attempt.outcome !== "succeeded"} />
      ))}
    </section>
  );
}

function stageName(timing: string): string {
  const stage = timing.replace(/_s$/, "");
  return STAGES[stage] ?? stage;
}

function One({ id, attempt, open }: { id: string; attempt: Attempt; open: boolean }): JSX.Element {
  return (
    <details class="attempt" open={open}>
      <summary>
        <Mark state={MARKS[attempt.outcome] ?? "queued"} /> <b>{attempt.attempt}</b> {outcome(attempt)} <span class="muted">on</span>{" "}
        <a href={href(["jobs"], { worker: attempt.worker })}>{attempt.worker}</a>{" "}
        <span class="muted">
          {[attempt.host, attempt.device].filter(Boolean).join(" · ")} · {duration(attempt.run_s)} · batch {count(attempt.batch_size)} · {absolute(attempt.started_at)}
        </span>
      </summary>
      <p class="parts muted">
        {Object.entries(attempt.timings).map(([name, s]) => (
          <span key={name}>
            {stageName(name)} <b>{duration(s)}</b>
          </span>
        ))}
      </p>
      {attempt.error && (
        <div class="notice bad">
          <b>{attempt.error.code}</b> {attempt.error.type ? `(${attempt.error.type})` : ""} <span dir="auto">{attempt.error.message}</span>
          {attempt.error.traceback && <pre tabIndex={0}>{attempt.error.traceback}</pre>}
        </div>
      )}
      {attempt.machine_s !== undefined && (
        <p class="muted">
          Receipt: machine {duration(attempt.machine_s)} · GPU {duration(attempt.gpu_s)} · cost {attempt.cost === null || attempt.cost === undefined ? NONE : money(Number(attempt.cost), currencyOf())}
        </p>
      )}
      <Log id={id} attempt={attempt} />
    </details>
  );
}

function Log({ id, attempt }: { id: string; attempt: Attempt }): JSX.Element {
  const text = useSignal<string | null>(null);
  const read = async (): Promise<void> => {
    try {
      text.value = await readLog(id, attempt.attempt);
    } catch (error) {
      text.value = `could not be read: ${asProblem(error).message}`;
    }
  };
  if (attempt.log_bytes === 0) return <p class="muted">Printed nothing.</p>;
  if (text.value === null) {
    return (
      <button type="button" onClick={() => void read()}>
        Show what it printed {attempt.log_bytes === null ? "" : `(${bytes(attempt.log_bytes)})`}
      </button>
    );
  }
  return (
    <pre class="log" tabIndex={0} aria-label={`Log of attempt ${attempt.attempt}`}>
      {text.value || NONE}
    </pre>
  );
}
