/** How it went: waits and runs as lines, outcomes as stacked bars, the backlog as a stacked area. Gaps are gaps. */

import type { JSX } from "preact";
import { useMemo } from "preact/hooks";
import { readHistory } from "../api/operations.ts";
import type { History, Lines } from "../api/types.ts";
import { count, duration, NONE, percent } from "../format.ts";
import { operates } from "../session.ts";
import { Loaded } from "./basics.tsx";
import { Chart, type Line } from "./chart.tsx";
import { usePolled, useResource } from "./resource.ts";
import { largest, shares, stacked, type Named } from "./stack.ts";
import { WindowChoice, windowOf } from "./window.tsx";

const READ_MS = 10_000;
const QUEUES = 5;

export function Over({ model = null }: { model?: string | null }): JSX.Element {
  const window_s = windowOf();
  const scope = operates() ? "all" : null;
  const told = useResource((abort) => readHistory({ window_s, model, scope }, abort), [window_s, model]);
  usePolled(told, READ_MS);
  return (
    <section class="over" aria-label="Over time">
      <h2>
        How it went <WindowChoice />
      </h2>
      <Loaded of={told} rows={6}>
        {(history) => <Charts history={history} />}
      </Loaded>
    </section>
  );
}

/** The middles of the steps, in seconds since the epoch. */
const middles = ({ from, step_s, n }: History): number[] => n.map((_, index) => Date.parse(from) / 1000 + (index + 0.5) * step_s);

function Charts({ history }: { history: History }): JSX.Element {
  const times = useMemo(() => middles(history), [history]);
  const n = history.n.reduce((sum, each) => sum + each, 0);
  const about = `n = ${count(n)}, steps of ${duration(history.step_s)}`;
  const nothing = n + history.ended.expired.reduce((sum, each) => sum + each, 0) === 0;
  return (
    <div class="charts">
      {nothing && <p class="muted">No attempt ended in this time.</p>}
      {!nothing && <Latency name="Wait" of={history.wait} about={about} times={times} step_s={history.step_s} />}
      {!nothing && <Latency name="Run" of={history.run} about={about} times={times} step_s={history.step_s} />}
      {!nothing && <Outcomes history={history} about={about} times={times} />}
      {history.backlog && <Backlog backlog={history.backlog} times={times} step_s={history.step_s} />}
    </div>
  );
}

function Latency({ name, of, about, times, step_s }: { name: string; of: Lines; about: string; times: number[]; step_s: number }): JSX.Element {
  const lines = useMemo(
    (): Line[] => [
      { label: "p50", values: of.p50, ink: "running" },
      { label: "p95", values: of.p95, ink: "area-2", kind: "lines" },
      { label: "p99", values: of.p99, ink: "failed", kind: "dots" },
    ],
    [of],
  );
  return (
    <figure>
      <figcaption>
        <b>{name}</b> <span class="muted">{about}; p99 from 100 a step on</span>
      </figcaption>
      <Chart label={`${name}: 50th, 95th and 99th percentile`} times={times} pad={step_s / 2} lines={lines} format={duration} />
    </figure>
  );
}

/** From the ground up: what failed stands where it is compared best. */
const OUTCOMES = [
  { name: "failed", ink: "failed", marked: "hatched" },
  { name: "retried", ink: "retrying", marked: "dotted" },
  { name: "expired", ink: "area-4" },
  { name: "canceled", ink: "queued" },
  { name: "succeeded", ink: "succeeded" },
] as const;

function Outcomes({ history, about, times }: { history: History; about: string; times: number[] }): JSX.Element {
  const partly = history.more.includes(true);
  const lines = useMemo((): Line[] => {
    const counts = OUTCOMES.map(({ name }) => history.ended[name]);
    const told = partly ? shares(counts) : counts;
    const drawn = stacked(told);
    return OUTCOMES.map(({ name, ink, ...more }, index): Line => ({ label: partly ? `${name}, share` : name, values: drawn[index]!, told: told[index]!, ink, kind: "stacked bars", ...more })).reverse();
  }, [history]);
  return (
    <figure>
      <figcaption>
        <b>Outcomes</b> <span class="muted">of attempts, retried: failed and repeated; {partly ? `shares, for busy steps are known by their newest only; ${about}` : about}</span>
      </figcaption>
      <Chart label="How attempts ended" times={times} pad={history.step_s / 2} lines={lines} format={partly ? percent : (value) => count(value)} whole={!partly} />
    </figure>
  );
}

function Backlog({ backlog, times, step_s }: { backlog: NonNullable<History["backlog"]>; times: number[]; step_s: number }): JSX.Element {
  const lines = useMemo((): Line[] => {
    const shown = largest(backlog.queues.map(({ queue, points }): Named => ({ name: queue, points })), QUEUES, "other queues");
    const drawn = stacked(shown.map(({ points }) => points));
    return shown.map(({ name, points }, index): Line => ({ label: name, values: drawn[index]!, told: [...points], ink: `area-${index + 1}`, kind: "stacked area" })).reverse();
  }, [backlog]);
  const unseen = backlog.seen.filter((seen) => !seen).length;
  const gaps = unseen ? `; in ${count(unseen)} of ${count(backlog.seen.length)} steps nobody counted` : "";
  return (
    <figure>
      <figcaption>
        <b>Backlog</b> <span class="muted">jobs waiting by queue, the most in a step, as this gateway counted{gaps}</span>
      </figcaption>
      {lines.length ? (
        <Chart label="Jobs waiting by queue" times={times} pad={step_s / 2} lines={lines} format={(value) => (value === null ? NONE : count(value))} whole />
      ) : (
        <p class="muted">{unseen === backlog.seen.length ? "Not known yet." : "Nothing waited whenever it counted."}</p>
      )}
    </figure>
  );
}
