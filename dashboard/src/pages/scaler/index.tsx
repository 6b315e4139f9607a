/** Scaler: why this many? */

import type { JSX } from "preact";
import { useSignal } from "@preact/signals";
import { useEffect, useMemo } from "preact/hooks";
import { listDecisions, listFleets, pauseFleet, resumeFleet, setFleet } from "../../api/operations.ts";
import type { Decision, FleetRow } from "../../api/types.ts";
import { now } from "../../clock.ts";
import { count, NONE } from "../../format.ts";
import { useRows } from "../../live/rows.ts";
import { Ago, Blank, Loaded, Tabs } from "../../parts/basics.tsx";
import { Chart, type Line } from "../../parts/chart.tsx";
import { JsonView } from "../../parts/json.tsx";
import { useResource } from "../../parts/resource.ts";
import { Mark } from "../../parts/state.tsx";
import { act } from "../../parts/toasts.tsx";
import { route, setQuery } from "../../router.ts";

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
      {known.length > 1 && <Steps row={row} decisions={known} />}
      <h2>Decisions</h2>
      <Loaded of={decisions}>{({ decisions: all }) => (all.length ? <Log decisions={all} /> : <p class="muted">None yet.</p>)}</Loaded>
    </>
  );
}

/** The now-sentence: what is wanted, what is there, and what holds it back. */
function Now({ row }: { row: FleetRow }): JSX.Element {
  const latest = row.latest;
  if (!latest) return <p class="why">No decision on {row.queue} yet.</p>;
  const capped = row.max !== null && latest.want !== null && latest.want >= row.max ? `, capped at ${row.max}` : "";
  const paused = row.paused ? " Paused: nothing is started, nobody is sent away." : "";
  return (
    <p class="why" dir="auto">
      <b>{latest.want === null ? "Holds: something is not known" : `Wants ${count(latest.want)}${capped}`}</b>, had {count(latest.have)}; decided <Ago at={latest.at} />.{paused} <span class="muted">{latest.reason}</span>
    </p>
  );
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

/** Wanted and there as steps, oldest first, with the limits in force now. */
function Steps({ row, decisions }: { row: FleetRow; decisions: Decision[] }): JSX.Element {
  const newest = decisions[0]?.id;
  const { times, lines, marks } = useMemo(() => {
    const rising = [...decisions].reverse();
    const times = [...rising.map((one) => Date.parse(one.at) / 1000), now.peek() / 1000];
    const carry = (values: (number | null)[]): (number | null)[] => [...values, values.at(-1) ?? null];
    const flat = (value: number | null): (number | null)[] => times.map(() => value);
    const lines: Line[] = [
      { label: "wanted", values: carry(rising.map((one) => one.want)), ink: "running", kind: "step" },
      // Known at the decisions and not between them: points, no line.
      { label: "there", values: [...rising.map((one) => one.have), null], ink: "succeeded", kind: "points" },
      ...(row.max === null ? [] : [{ label: "at most", values: flat(row.max), ink: "muted", kind: "dashed" as const }]),
      ...(row.min === null ? [] : [{ label: "at least", values: flat(row.min), ink: "muted", kind: "dashed" as const }]),
    ];
    return { times, lines, marks: rising.filter((one) => one.actions.launch || one.actions.drain.length).map((one) => Date.parse(one.at) / 1000) };
  }, [newest, decisions.length, row.min, row.max]);
  return <Chart label={`Workers of ${row.queue}: wanted and there`} times={times} lines={lines} marks={marks} whole format={(value) => (value === null ? NONE : String(value))} />;
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
