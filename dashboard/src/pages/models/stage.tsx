/** Where a try is watched: four steps with their times, then what went in beside what came out. */

import type { JSX } from "preact";
import { useSignal } from "@preact/signals";
import { inputAddress, outputAddress } from "../../api/jobs.ts";
import type { Job, Model } from "../../api/types.ts";
import { exactNow, now } from "../../clock.ts";
import { duration, percent, since } from "../../format.ts";
import { ended, useJob, type Followed } from "../../live/job.ts";
import { Failed, Skeleton } from "../../parts/basics.tsx";
import { JsonView } from "../../parts/json.tsx";
import { Download, LocalFile, Media } from "../../parts/media.tsx";
import { Mark, reason, shownState, type Shown } from "../../parts/state.tsx";
import { href } from "../../router.ts";
import { droppedFile, fileKinds, type Given } from "./fields.tsx";

interface Props {
  model: Model;
  id: string | null;
  given: Given;
  sending: boolean;
  give: (name: string, value: File) => void;
}

export function Stage(props: Props): JSX.Element {
  const over = useSignal(false);
  const target = fileKinds(props.model)[0];
  const drop = (event: DragEvent): void => {
    over.value = false;
    const file = droppedFile(event);
    if (file && target) props.give(target, file);
  };
  return (
    <section
      class={`stage ${over.value ? "over" : ""}`}
      aria-label="Run"
      onDragOver={(event) => {
        event.preventDefault();
        over.value = true;
      }}
      onDragLeave={() => (over.value = false)}
      onDrop={drop}
    >
      {props.id ? <Watched {...props} id={props.id} /> : <Waiting {...props} />}
    </section>
  );
}

function Waiting({ model, given, sending }: Props): JSX.Element {
  const steps: Step[] = NAMES.map((name) => ({ name, state: "later", detail: "" }));
  if (sending) steps[0] = { name: "Queued", state: "running", detail: "sending" };
  return (
    <>
      <Steps steps={steps} />
      <div class="sides">
        <Inputs model={model} given={given} />
        <figure class="side">
          <figcaption>Result</figcaption>
          <div class="media empty">{sending ? "" : "The result comes here."}</div>
        </figure>
      </div>
    </>
  );
}

function Watched({ model, id, given }: Props & { id: string }): JSX.Element {
  const followed = useJob(id);
  const job = followed.data.value;
  if (!job) return followed.problem.value ? <Failed problem={followed.problem.value} retry={() => void followed.reload()} /> : <Skeleton rows={6} />;
  return (
    <>
      <Steps steps={stepsOf(job, followed)} />
      <div class="sides">
        <Inputs model={model} given={given} job={job} />
        <Outcome model={model} job={job} />
      </div>
      <p class="muted">
        Job <a href={href(["jobs", id])}>{id}</a>
      </p>
    </>
  );
}

const NAMES = ["Queued", "Worker starting", "Running", "Result"];

interface Step {
  name: string;
  state: Shown | "later" | "skipped";
  detail: string;
}

/** The four steps as far as the job has come. A worker that was there already is said to have been. */
function stepsOf(job: Job, followed: Followed): Step[] {
  const starting = job.state === "queued" && (job.queue_reason === "worker_starting" || job.queue_reason === "no_worker");
  const begun = job.started_at !== null;
  const wait = job.wait_s ?? job.timings["queue_s"] ?? since(job.started_at ?? job.finished_at, Date.parse(job.queued_at ?? job.created_at)) ?? null;
  const waited = begun || ended(job.state) ? (wait === null ? null : Math.abs(wait)) : (now.value, since(job.queued_at ?? job.created_at, exactNow()));
  return [
    { name: "Queued", state: begun || ended(job.state) ? "succeeded" : starting ? "succeeded" : shownState(job), detail: queuedDetail(job, starting, waited) },
    startingStep(job, starting, begun, followed.starting.value),
    { name: "Running", state: begun ? (ended(job.state) ? "succeeded" : shownState(job)) : "later", detail: runningDetail(job) },
    { name: "Result", state: ended(job.state) ? job.state : "later", detail: ended(job.state) ? job.state : "" },
  ];
}

function queuedDetail(job: Job, starting: boolean, waited: number | null): string {
  if (starting || job.started_at || ended(job.state)) return duration(waited);
  const place = job.queue_position ? `, place ${job.queue_position}` : "";
  return `${duration(waited)}${place}${job.queue_reason ? ` · ${reason(job.queue_reason)}` : ""}`;
}

function startingStep(job: Job, starting: boolean, begun: boolean, seen: Followed["starting"]["value"]): Step {
  if (starting) {
    const lasted = seen === null ? "" : `for ${duration((performance.now() - seen.since) / 1000)}`;
    const detail = job.queue_reason === "no_worker" ? ["no worker yet", lasted].filter(Boolean).join(", ") : lasted;
    return { name: "Worker starting", state: job.queue_reason === "no_worker" ? "queued" : "running", detail };
  }
  if (seen !== null && begun) return { name: "Worker starting", state: "succeeded", detail: seen.until === null ? "" : `ready after about ${duration((seen.until - seen.since) / 1000)}` };
  return { name: "Worker starting", state: begun ? "skipped" : "later", detail: begun ? "one was ready" : "" };
}

function runningDetail(job: Job): string {
  if (job.state === "running") {
    const done = job.progress > 0 ? `${percent(job.progress)} · ` : "";
    return `${done}${duration(since(job.started_at, (now.value, exactNow())))}${job.queue_reason ? ` · ${reason(job.queue_reason)}` : ""}${job.attempt > 1 ? ` · attempt ${job.attempt}` : ""}`;
  }
  if (!job.finished_at || !job.started_at) return "";
  return duration((Date.parse(job.finished_at) - Date.parse(job.started_at)) / 1000);
}

function Steps({ steps }: { steps: Step[] }): JSX.Element {
  return (
    <ol class="steps" aria-label="Steps">
      {steps.map((step) => (
        <li key={step.name} class={`step step-${step.state}`} aria-current={step.state === "running" ? "step" : undefined}>
          <Mark state={step.state === "later" || step.state === "skipped" ? "scheduled" : step.state} />
          <b>{step.name}</b>
          <span class="muted">{step.detail}</span>
        </li>
      ))}
    </ol>
  );
}

function Inputs({ model, given, job }: { model: Model; given: Given; job?: Job }): JSX.Element {
  return (
    <figure class="side">
      <figcaption>Input</figcaption>
      {Object.entries(model.inputs).map(([name, { kind }]) => {
        const value = given[name];
        const sent = job?.inputs[name];
        if (value instanceof File) return <LocalFile key={`${name}${value.name}${value.lastModified}`} file={value} />;
        if (sent && "json" in sent) return <JsonView key={name} value={sent.json} label={name} />;
        if (job && sent) return <Media key={name} name={name} address={inputAddress(job.id, name)} kind={kind} />;
        return <div key={name} class="media empty">{value ? value : `No ${name} yet: ${kind === "json" || kind === "text" ? "type it in the form" : "drop one here"}.`}</div>;
      })}
    </figure>
  );
}

function Outcome({ model, job }: { model: Model; job: Job }): JSX.Element {
  const outputs = Object.entries(job.outputs).sort(([one], [other]) => order(model, one) - order(model, other));
  return (
    <figure class="side" aria-live="polite">
      <figcaption>Result</figcaption>
      {job.error && ended(job.state) && (
        <div class="notice bad" role="alert">
          <b>{job.error.code}</b> <span dir="auto">{job.error.message}</span>
        </div>
      )}
      {outputs.length === 0 && !job.error && <div class="media empty" aria-busy={!ended(job.state)}>{ended(job.state) ? "No output." : ""}</div>}
      {outputs.map(([name, output]) => (
        <div key={name}>
          <Media name={name} address={outputAddress(job.id, name)} type={output.content_type} size={output.size} offered />
          <p class="muted under">
            {name} <Download name={name} address={outputAddress(job.id, name)} size={output.size} />
          </p>
        </div>
      ))}
    </figure>
  );
}

/** As the model lists them: the first is what one came for. */
function order(model: Model, name: string): number {
  return Object.keys(model.outputs).indexOf(name);
}
