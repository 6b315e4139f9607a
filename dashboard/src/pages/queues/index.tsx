/** Queues: what's backed up? */

import type { JSX } from "preact";
import { listQueues, pauseQueue, resumeQueue } from "../../api/operations.ts";
import type { QueueRow, State } from "../../api/types.ts";
import { count, duration, NONE, rate } from "../../format.ts";
import { useRows } from "../../live/rows.ts";
import { Ago, Blank, Loaded } from "../../parts/basics.tsx";
import type { Resource } from "../../parts/resource.ts";
import { Mark } from "../../parts/state.tsx";
import { Table, type Column } from "../../parts/table.tsx";
import { act } from "../../parts/toasts.tsx";
import { go, href, route } from "../../router.ts";
import { board } from "../../session.ts";

export function Queues(): JSX.Element {
  const queues = useRows("queues", listQueues);
  return (
    <>
      <div class="title">
        <h1>Queues</h1>
      </div>
      <Loaded of={queues}>
        {(rows) =>
          rows.length ? (
            <Table label="Queues" columns={columns(queues)} rows={[...rows].sort(byName)} name={(row) => row.queue} at={route.value.query.get("at")} open={(row) => go(["jobs"], { queue: row.queue, scope: "all" })} />
          ) : (
            <Blank title="No queues yet"><p>A queue is there as soon as a model of the catalog names it.</p></Blank>
          )
        }
      </Loaded>
    </>
  );
}

/** By name and not by depth: rows must not jump. */
const byName = (one: QueueRow, other: QueueRow): number => one.queue.localeCompare(other.queue);

/** Its jobs of one state, of every tenant, as they are counted. */
const jobsOf = (row: QueueRow, state: State): string => href(["jobs"], { queue: row.queue, state, scope: "all" });

/** Jobs that ended, by the second. */
const outOf = (row: QueueRow): number | null => row.out_per_s ?? (row.ended_per_min === null ? null : row.ended_per_min / 60);

function columns(queues: Resource<QueueRow[]>): Column<QueueRow>[] {
  return [
    { name: "queue", label: "Queue", first: true, cell: (row) => <Name row={row} /> },
    { name: "waiting", label: "Waiting", right: true, first: true, cell: (row) => <a href={jobsOf(row, "queued")}>{count(row.waiting)}</a> },
    { name: "running", label: "Running", right: true, cell: (row) => <a href={jobsOf(row, "running")}>{count(row.running)}</a> },
    { name: "scheduled", label: "Scheduled", right: true, cell: (row) => <a href={jobsOf(row, "waiting")}>{count(row.scheduled)}</a> },
    { name: "oldest", label: "Oldest wait", right: true, first: true, cell: (row) => duration(row.oldest_s) },
    { name: "in", label: "In", right: true, cell: (row) => rate(row.in_per_s, "jobs", outOf(row)) },
    { name: "out", label: "Out", right: true, cell: (row) => rate(outOf(row), "jobs", row.in_per_s) },
    { name: "priorities", label: "By priority", cell: (row) => <Priorities row={row} /> },
    { name: "workers", label: "Workers", cell: (row) => <a href={href(["workers"], { queue: row.queue })}>{crew(row)}</a> },
    { name: "drain", label: "Drains in", right: true, cell: drain },
    { name: "act", label: "", right: true, wide: true, cell: (row) => <Act row={row} done={() => void queues.reload()} /> },
  ];
}

function Name({ row }: { row: QueueRow }): JSX.Element {
  return (
    <span class="state">
      {row.paused ? <Mark state="scheduled" /> : row.waiting > 0 && row.workers.ready + row.workers.starting === 0 ? <Mark state="failed" /> : <Mark state={row.running > 0 ? "running" : "succeeded"} />}
      <b>{row.queue}</b>
      {row.paused && (
        <span class="muted">
          paused by {row.paused_by ?? NONE} <Ago at={row.paused_at} />
        </span>
      )}
    </span>
  );
}

function crew({ workers }: QueueRow): string {
  const more = [workers.starting && `${workers.starting} starting`, workers.draining && `${workers.draining} draining`].filter(Boolean);
  return `${count(workers.busy)}/${count(workers.ready)} busy${more.length ? `, ${more.join(", ")}` : ""}`;
}

/** A range, because what is known of the pace is a spread; or that it does not drain at all. */
function drain(row: QueueRow): string {
  if (row.waiting === 0) return NONE;
  const [low, high] = [row.drain_low_s ?? null, row.drain_high_s ?? null];
  if (low !== null && high !== null) return low === high ? duration(low) : `${duration(low)} – ${duration(high)}`;
  if (low !== null || row.workers.ready === 0) return "not shrinking";
  return row.eta_s === null ? NONE : `about ${duration(row.eta_s)}`;
}

/** Eleven bars, 10 first; height by share, the figures on hover and for those who listen. */
function Priorities({ row }: { row: QueueRow }): JSX.Element {
  const most = Math.max(1, ...row.priorities.map((one) => one.waiting));
  const words = row.priorities.filter((one) => one.waiting > 0).map((one) => `${one.priority}: ${one.waiting}`).join(", ") || "nothing waits";
  return (
    <span class="priorities" role="img" aria-label={`Waiting by priority: ${words}`} title={words}>
      {Array.from({ length: 11 }, (_, index) => {
        const waiting = row.priorities.find((one) => one.priority === 10 - index)?.waiting ?? 0;
        return <i key={index} style={{ height: `${waiting ? Math.max(3, (waiting / most) * 20) : 1}px` }} />;
      })}
    </span>
  );
}

function Act({ row, done }: { row: QueueRow; done: () => void }): JSX.Element {
  const toggle = async (): Promise<void> => {
    const [there, back] = row.paused ? [resumeQueue, pauseQueue] : [pauseQueue, resumeQueue];
    await act(`${row.queue} ${row.paused ? "goes on" : "is paused: running jobs go on, none is started"}`, () => there(row.queue).then(done), () => back(row.queue).then(done));
  };
  const metrics = board("leveret-queue", { "var-queue": row.queue });
  return (
    <>
      {metrics && (
        <a href={metrics} target="_blank" rel="noreferrer" aria-label={`Metrics of ${row.queue}`}>
          Metrics ↗
        </a>
      )}{" "}
      <button type="button" onClick={() => void toggle()} aria-label={`${row.paused ? "Resume" : "Pause"} ${row.queue}`}>
        {row.paused ? "Resume" : "Pause"}
      </button>
    </>
  );
}
