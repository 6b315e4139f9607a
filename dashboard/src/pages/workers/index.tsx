/** Workers: who's unwell? A card per worker and device; the unwell ones come first. */

import type { JSX } from "preact";
import { useEffect, useRef } from "preact/hooks";
import { drainWorker, listWorkers, undrainWorker } from "../../api/operations.ts";
import type { DeviceRow, WorkerRow } from "../../api/types.ts";
import { bytesOf, duration, percent, plural, shortId, since } from "../../format.ts";
import { now } from "../../clock.ts";
import { useRows } from "../../live/rows.ts";
import { Blank, Clipped, Loaded } from "../../parts/basics.tsx";
import { Bullet } from "../../parts/chart.tsx";
import { Mark, type Shown } from "../../parts/state.tsx";
import { act } from "../../parts/toasts.tsx";
import { go, href, route } from "../../router.ts";
import { heldModels, shownDevices } from "./told.ts";

export function Workers(): JSX.Element {
  const workers = useRows("workers", listWorkers);
  const queue = route.value.query.get("queue");
  return (
    <>
      <div class="title">
        <h1>Workers</h1>
        {queue && (
          <button type="button" onClick={() => go(["workers"])}>
            of {queue} ×
          </button>
        )}
      </div>
      <Loaded of={workers}>
        {(rows) => {
          const shown = rows.filter((row) => !queue || row.queue === queue).sort(unwellFirst);
          if (shown.length) return <Cards rows={shown} done={() => void workers.reload()} />;
          return <Blank title={queue && rows.length ? "No worker matches" : "No workers now"}><p>The scaler starts one when a job comes. <a href={href(["scaler"])}>What it last decided</a></p></Blank>;
        }}
      </Loaded>
    </>
  );
}

function health(row: WorkerRow): { mark: Shown; word: string; rank: number } {
  if (row.silent) return { mark: "failed", word: "offline", rank: 0 };
  if (row.draining) return { mark: "draining", word: "draining", rank: 1 };
  if (row.state === "starting") return { mark: "queued", word: "starting", rank: 2 };
  return row.busy > 0 ? { mark: "running", word: "busy", rank: 3 } : { mark: "succeeded", word: "ready", rank: 3 };
}

/** Offline first, then who leaves or comes; within that by name, so that cards stay where they are. */
const unwellFirst = (one: WorkerRow, other: WorkerRow): number =>
  health(one).rank - health(other).rank || one.queue.localeCompare(other.queue) || one.id.localeCompare(other.id);

/** Seconds since the row was told: its ages count on. */
const elapsed = (row: WorkerRow): number => Math.max(0, (now.value - (row.read_at ?? now.value)) / 1000);

function Cards({ rows, done }: { rows: WorkerRow[]; done: () => void }): JSX.Element {
  return (
    <ul class="cards">
      {rows.map((row) => (
        <Card key={row.id} row={row} done={done} />
      ))}
    </ul>
  );
}

function Card({ row, done }: { row: WorkerRow; done: () => void }): JSX.Element {
  const { mark, word } = health(row);
  const here = useRef<HTMLLIElement>(null);
  const meant = route.value.query.get("at") === row.id;
  useEffect(() => {
    if (meant) here.current?.scrollIntoView({ block: "center" });
  }, [meant]);
  return (
    <li ref={here} class={`card ${row.silent ? "offline" : ""} ${meant ? "meant" : ""}`} aria-label={`Worker ${row.id}, ${word}`}>
      <h2>
        <Mark state={mark} /> {word} <Clipped text={row.id} class="muted" />
      </h2>
      <p class="muted">
        <a href={href(["queues"], { at: row.queue })}>{row.queue}</a> · {row.host} · {row.device} · up {duration(Math.floor(since(row.started_at, now.value) ?? 0))}
      </p>
      {shownDevices(row).map((device) => (
        <Device key={device.device} device={device} />
      ))}
      {!row.devices && <p class="muted">What its devices do is not known.</p>}
      <p class="muted loaded">
        Holds <span title={heldModels(row)}>{heldModels(row)}</span>
      </p>
      <Held row={row} />
      <p class="foot">
        <span class={row.silent ? "" : "muted"}>heard of {duration(Math.floor(row.heartbeat_s + elapsed(row)))} ago</span>
        <Drain row={row} done={done} />
      </p>
    </li>
  );
}

function Device({ device }: { device: DeviceRow }): JSX.Element {
  return (
    <div class="device">
      <span class="named">
        {device.device} {device.name && <Clipped text={device.name} class="muted" />}
      </span>
      <span class="figure" title="Of the time between its last two heartbeats: an engine's device stage was at work">
        <span class="muted">busy</span> <b>{percent(device.utilisation)}</b>
      </span>
      <span class="figure" title={device.kind === "cpu" ? "What its engines hold, of the machine's or its container's" : "What is taken of the GPU's, by whomever"}>
        <span class="muted">memory</span> <b>{bytesOf(device.memory_used, device.memory_total)}</b>
      </span>
      {device.memory_used !== null && device.memory_total !== null && (
        <Bullet used={device.memory_used} total={device.memory_total} label={`Memory of ${device.device}`} />
      )}
    </div>
  );
}

/** What it runs; of an offline one, the jobs whose fate is open until their leases end. */
function Held({ row }: { row: WorkerRow }): JSX.Element {
  if (!row.jobs.length) return <p class="muted">{row.silent ? "Held no job." : `No job in hand, ${plural(row.slots, "slot")}.`}</p>;
  return (
    <ul class="held">
      {row.silent && <li>Its jobs go to others when their leases end:</li>}
      {row.jobs.map((job) => (
        <li key={job.id}>
          <a class="id" href={href(["jobs", job.id])}>
            {shortId(job.id)}
          </a>{" "}
          {job.model} <span class="muted">{row.silent ? "" : `for ${duration(job.running_s + elapsed(row))}`}</span>
        </li>
      ))}
    </ul>
  );
}

function Drain({ row, done }: { row: WorkerRow; done: () => void }): JSX.Element {
  const drain = (): void => {
    void act(`${row.id} finishes what it holds and leaves`, () => drainWorker(row.id).then(done), () => undrainWorker(row.id).then(done));
  };
  const takeBack = (): void => void act(`${row.id} stays`, () => undrainWorker(row.id).then(done));
  if (row.draining && row.state === "draining") return <span class="muted" title="It has heard that it shall leave, and cannot be told otherwise any more">leaves when it is done</span>;
  if (row.draining) {
    return (
      <button type="button" onClick={takeBack} disabled={row.silent} aria-label={`Take ${row.id} back`} title="Until the worker has heard of it, ten seconds at most">
        Take back
      </button>
    );
  }
  return (
    <button type="button" onClick={drain} disabled={row.silent} aria-label={`Drain ${row.id}`}>
      Drain
    </button>
  );
}
