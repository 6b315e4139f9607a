/** Scaler: why this many? */

import type { JSX } from "preact";
import { useSignal } from "@preact/signals";
import { useEffect, useMemo } from "preact/hooks";
import { listDecisions, listFleets, listSpans, pauseFleet, resumeFleet, setFleet } from "../../api/operations.ts";
import type { Decision, FleetRow, FleetSpan, InForce } from "../../api/types.ts";
import { now } from "../../clock.ts";
import { count, NONE, plural } from "../../format.ts";
import { useRows } from "../../live/rows.ts";
import { Ago, Blank, Loaded, Tabs } from "../../parts/basics.tsx";
import { Chart, type Line } from "../../parts/chart.tsx";
import { JsonView } from "../../parts/json.tsx";
import { useResource } from "../../parts/resource.ts";
import { Mark } from "../../parts/state.tsx";
import { act } from "../../parts/toasts.tsx";
import { route, setQuery } from "../../router.ts";
import { drawn, visible } from "./spans.ts";

const SHOWN = 100;

export function ScalerPage(): JSX.Element {
  const fleets = useRows("scaler", listFleets);
  return (
    <Loaded of={fleets}>
      {(rows) => {
        const chosen = rows.find((row) => row.queue === (route.value.query.get("queue") ?? route.value.query.get("at"))) ?? rows[0];
        return (
          <>
            <div class="title">
              <h1>Scaler</h1>
            </div>
            {rows.length > 0 && <Tabs label="Fleet" tabs={rows.map((row) => ({ name: row.queue, text: row.queue }))} current={chosen?.queue ?? ""} choose={(queue) => setQuery({ queue, at: null })} />}
            {chosen ? <Fleet key={chosen.queue} row={chosen} done={() => void fleets.reload()} /> : <Blank title="No fleets yet"><p>The scaler has not looked at a queue so far: is it running? <code>leveret doctor</code> tells.</p></Blank>}
          </>
        );
      }}
    </Loaded>
  );
}

function Fleet({ row, done }: { row: FleetRow; done: () => void }): JSX.Element {
  const latest = row.latest?.id ?? 0;
  const decisions = useResource((abort) => listDecisions(row.queue, null, SHOWN, abort), [row.queue]);
  useEffect(() => void decisions.reload(), [latest]);
  const known = decisions.data.value?.decisions ?? [];
  return (
    <>
      <Now row={row} />
      <Limits row={row} done={done} />
      <History row={row} decisions={known} />
      <h2>Decisions</h2>
      <Loaded of={decisions}>{({ decisions: all }) => (all.length ? <Log decisions={all} /> : <p class="muted">None yet.</p>)}</Loaded>
    </>
  );
}

/** The now-sentence: what is wanted, what holds it back, and who is there. */
function Now({ row }: { row: FleetRow }): JSX.Element {
  const { serving, starting, draining } = row.there;
  return (
    <section aria-label="Now">
      <p class="why" dir="auto">
        <b>{wanted(row)}</b> {plural(serving, "worker serves", "workers serve")}, {plural(starting, "starts", "start")}, {plural(draining, "leaves", "leave")}.{" "}
        {row.limits && (
          <span class="muted">
            At least {count(row.limits.min)} ({whose(row.limits.min_by)}), at most {count(row.limits.max)} ({whose(row.limits.max_by)}).
          </span>
        )}
      </p>
      {row.latest && (
        <p class="muted" dir="auto">
          Last decision <Ago at={row.latest.at} />: {row.latest.reason}
        </p>
      )}
    </section>
  );
}

const whose = (by: InForce["min_by"]): string => (by === "order" ? "an operator's order" : "the scaler's settings");

function wanted({ queue, look, limits, paused, changed_by }: FleetRow): string {
  if (!look) return `No scaler has looked at ${queue} yet.`;
  if (!look.fresh) return `No scaler looks at ${queue} any more: what is wanted now is not known.`;
  if (paused) return `Paused by ${changed_by ?? "an operator"}: nothing is started, nobody is sent away.`;
  if (look.want === null) return "Holds: something is not known.";
  if (look.bound === "max") return `Wants ${count(look.asked)}, capped at ${count(limits?.max)} by max.`;
  if (look.bound === "min") return `Wants ${count(look.asked)}, kept at ${count(limits?.min)} by min.`;
  if (look.bound === "jobs") return `Wants ${count(look.want)}: there are no jobs for more.`;
  return `Wants ${count(look.want)}.`;
}

function Limits({ row, done }: { row: FleetRow; done: () => void }): JSX.Element {
  const min = useSignal(row.min === null ? "" : String(row.min));
  const max = useSignal(row.max === null ? "" : String(row.max));
  const number = (text: string): number | null => (text === "" ? null : Number(text));
  const save = (): Promise<boolean> => {
    const before = { min: row.min, max: row.max };
    return act(`Limits of ${row.queue} are set`, () => setFleet(row.queue, { min: number(min.value), max: number(max.value) }).then(done), () => setFleet(row.queue, before).then(done));
  };
  const toggle = (): Promise<boolean> => {
    const [there, back] = row.paused ? [resumeFleet, pauseFleet] : [pauseFleet, resumeFleet];
    return act(row.paused ? `The fleet of ${row.queue} goes on` : `The fleet of ${row.queue} is left as it is`, () => there(row.queue).then(done), () => back(row.queue).then(done));
  };
  const changed = number(min.value) !== row.min || number(max.value) !== row.max;
  return (
    <form
      class="actions"
      data-actions
      onSubmit={(event) => {
        event.preventDefault();
        void save();
      }}
    >
      <label class="inline">
        at least <input type="number" min={0} max={10000} placeholder="settings" value={min.value} onInput={(event) => (min.value = event.currentTarget.value)} />
      </label>
      <label class="inline">
        at most <input type="number" min={0} max={10000} placeholder="settings" value={max.value} onInput={(event) => (max.value = event.currentTarget.value)} />
      </label>
      <button type="submit" disabled={!changed}>
        Set limits
      </button>
      <button type="button" onClick={() => void toggle()}>
        {row.paused ? "Go on" : "Pause the fleet"}
      </button>
      {row.changed_by && (
        <span class="muted">
          set by {row.changed_by} <Ago at={row.changed_at} />
        </span>
      )}
    </form>
  );
}

const RANGES = [
  { name: "3600", text: "1 h" },
  { name: "86400", text: "1 d" },
  { name: "691200", text: "8 d" },
];

/** Wanted, there and the limits as steps; a gap is a time in which no scaler looked. */
function History({ row, decisions }: { row: FleetRow; decisions: Decision[] }): JSX.Element {
  const asked = route.value.query.get("range");
  const range = RANGES.find(({ name }) => name === asked)?.name ?? RANGES[0]!.name;
  const spans = useResource((abort) => listSpans(row.queue, Number(range), abort), [row.queue, range]);
  useEffect(() => void spans.reload(), [row.look?.since, row.look?.fresh]);
  return (
    <section aria-label="History">
      <Tabs label="Range" tabs={RANGES} current={range} choose={(chosen) => setQuery({ range: chosen })} />
      <Loaded of={spans}>{(known) => (known.length ? <Steps row={row} spans={known} decisions={decisions} /> : <p class="muted">No scaler looked within this time.</p>)}</Loaded>
    </section>
  );
}

function Steps({ row, spans, decisions }: { row: FleetRow; spans: FleetSpan[]; decisions: Decision[] }): JSX.Element {
  const end = row.look?.fresh ? row.look.at : null;
  const { times, lines, marks, above } = useMemo(() => {
    const known = drawn(spans, end === null ? null : Date.parse(end) / 1000, now.peek() / 1000);
    const step = (label: string, values: (number | null)[], ink: string): Line => ({ label, values, ink, kind: "step" });
    const limit = (label: string, values: (number | null)[]): Line => ({ label, values, ink: "muted", kind: "dashed" });
    const lines: Line[] = [
      step("wanted", known.wanted, "running"),
      step("serving", known.serving, "succeeded"),
      step("starting", known.starting, "retrying"),
      ...(visible(known.most, known) ? [limit("at most", known.most)] : []),
      ...(visible(known.least, known) ? [limit("at least", known.least)] : []),
    ];
    const since = known.times[0] ?? 0;
    const marks = decisions
      .filter((one) => one.actions.launch || one.actions.drain.length)
      .map((one) => Date.parse(one.at) / 1000)
      .filter((at) => at >= since);
    return { times: known.times, lines, marks, above: !visible(known.most, known) };
  }, [spans, end, decisions.length]);
  return (
    <>
      <Chart label={`Workers of ${row.queue}: wanted, serving, starting, and their limits`} times={times} lines={lines} marks={marks} whole format={(value) => (value === null ? NONE : String(value))} />
      {above && row.limits && row.limits.max > 0 && <p class="muted">At most {count(row.limits.max)}: far above what is drawn.</p>}
    </>
  );
}

interface Run {
  shown: Decision;
  same: Decision[];
}

/** Decisions one after the other that changed nothing are one line. */
function collapsed(decisions: Decision[]): Run[] {
  const runs: Run[] = [];
  for (const decision of decisions) {
    const last = runs.at(-1);
    if (last && idle(decision) && idle(last.shown) && decision.want === last.shown.want && decision.have === last.shown.have) last.same.push(decision);
    else runs.push({ shown: decision, same: [] });
  }
  return runs;
}

const idle = ({ actions }: Decision): boolean => !actions.launch && !actions.drain.length && !actions.terminate.length;

function Log({ decisions }: { decisions: Decision[] }): JSX.Element {
  return (
    <ol class="log">
      {collapsed(decisions).map(({ shown, same }) => (
        <li key={shown.id}>
          <One decision={shown} />
          {same.length > 0 && <p class="muted">and {same.length} like it, the first <Ago at={same.at(-1)!.at} /></p>}
        </li>
      ))}
    </ol>
  );
}

function One({ decision }: { decision: Decision }): JSX.Element {
  const { launch, drain, terminate } = decision.actions;
  const done = [launch && `start ${launch}`, drain.length && `drain ${drain.join(", ")}`, terminate.length && `end ${terminate.join(", ")}`].filter(Boolean).join("; ");
  return (
    <details class="attempt">
      <summary>
        <Mark state={decision.want === null ? "scheduled" : launch ? "queued" : drain.length || terminate.length ? "draining" : "succeeded"} />{" "}
        <b>
          {count(decision.have)} → {count(decision.want)}
        </b>{" "}
        {done || "nothing to do"} <Ago at={decision.at} />
      </summary>
      <p dir="auto">{decision.reason}</p>
      {decision.inputs && <JsonView value={decision.inputs} label="inputs" />}
    </details>
  );
}
