/** A job: what happened, what next? */

import type { JSX } from "preact";
import { cancelJob, inputAddress, outputAddress, retryJob } from "../../api/jobs.ts";
import type { Job } from "../../api/types.ts";
import { catalog, wantCatalog } from "../../catalog.ts";
import { absolute, ago, NONE } from "../../format.ts";
import { now } from "../../clock.ts";
import { ended, useJob } from "../../live/job.ts";
import { copy, CopyButton, Loaded } from "../../parts/basics.tsx";
import { confirm } from "../../parts/confirm.tsx";
import { JsonView } from "../../parts/json.tsx";
import { Download, Media } from "../../parts/media.tsx";
import { reason, StateLabel } from "../../parts/state.tsx";
import { act } from "../../parts/toasts.tsx";
import { address } from "../../api/client.ts";
import { useKeys } from "../../keys.ts";
import { go, href } from "../../router.ts";
import { tryFrom } from "../models/try.tsx";
import { Attempts } from "./attempts.tsx";
import { curl } from "./curl.ts";
import { Timeline } from "./timeline.tsx";

export function JobPage({ id }: { id: string }): JSX.Element {
  const followed = useJob(id);
  wantCatalog();
  return <Loaded of={followed}>{(job) => <Shown job={job} reload={() => void followed.reload()} />}</Loaded>;
}

function Shown({ job, reload }: { job: Job; reload: () => void }): JSX.Element {
  return (
    <article class="job">
      <Title job={job} reload={reload} />
      <p class="why" dir="auto">
        {why(job)}
      </p>
      <Timeline job={job} />
      {job.error && <JobErrorBox job={job} />}
      <div class="sides">
        <Inputs job={job} />
        <Outputs job={job} />
      </div>
      <Attempts id={job.id} version={`${job.seq}`} />
      <Facts job={job} />
    </article>
  );
}

function Title({ job, reload }: { job: Job; reload: () => void }): JSX.Element {
  return (
    <div class="title">
      <h1>
        <StateLabel job={job} /> <a href={href(["models", job.model])}>{job.model}@{job.model_version}</a>
      </h1>
      <p>
        <code class="id">{job.id}</code> <CopyButton text={job.id} what="id" />
      </p>
      <Actions job={job} reload={reload} />
    </div>
  );
}

function Actions({ job, reload }: { job: Job; reload: () => void }): JSX.Element {
  const retry = (): void => {
    void act("A new job was made", async () => {
      const made = await retryJob(job.id);
      go(["jobs", made.id]);
    });
  };
  const cancel = async (): Promise<void> => {
    const lines = [`${job.model} ${job.state === "running" ? "is running and will be stopped" : "will not be run"}. A canceled job is never taken up again; it can be retried as a new one.`];
    if (await confirm({ title: `Cancel job ${job.id}?`, lines, action: "Cancel 1 job", danger: true })) {
      await act("Cancellation asked for", () => cancelJob(job.id));
      reload();
    }
  };
  useKeys({ r: () => ended(job.state) && retry() });
  return (
    <div class="actions" data-actions>
      <button type="button" onClick={retry} disabled={!ended(job.state)} title={ended(job.state) ? "A new job with the same inputs (r)" : "Once it has ended"}>
        Retry
      </button>
      <button type="button" onClick={() => void cancel()} disabled={ended(job.state) || job.cancel_requested}>
        Cancel
      </button>
      <a class="button" href={tryFrom(job.model, job.id)}>
        Change and try
      </a>
      <button type="button" title="A submit with the same version, inputs, params and metadata" onClick={() => void copy(curl(job, address("").href.replace(/\/$/, "")), "curl line")}>
        Copy curl
      </button>
    </div>
  );
}

/** The state in a sentence. */
function why(job: Job): JSX.Element | string {
  if (job.state === "queued") return `Waits${job.queue_position ? ` at place ${job.queue_position}` : ""} in ${job.queue}: ${reason(job.queue_reason) || "reason not known"}.`;
  if (job.state === "waiting") return `${job.attempt > 0 ? `Attempt ${job.attempt} of ${job.max_attempts} failed; the next` : "It"} starts ${ago(job.run_at, now.value)}.`;
  if (job.state === "running" && job.queue_reason) return `${job.cancel_requested ? "Asked to stop. " : ""}Waits within ${job.worker ?? "its worker"}, attempt ${job.attempt} of ${job.max_attempts}: ${reason(job.queue_reason)}.`;
  if (job.state === "running") return `${job.cancel_requested ? "Asked to stop. " : ""}Runs on ${job.worker ?? "a worker"}, attempt ${job.attempt} of ${job.max_attempts}${job.progress > 0 ? `, ${Math.round(job.progress * 100)} % done` : ""}.`;
  if (job.state === "succeeded") return `Done ${ago(job.finished_at, now.value)}${job.worker ? ` on ${job.worker}` : ""}${job.attempt > 1 ? `, at attempt ${job.attempt}` : ""}.`;
  if (job.state === "failed") return `Failed ${ago(job.finished_at, now.value)} after ${job.attempt} of ${job.max_attempts} attempts.`;
  return job.state === "expired" ? "It had not started in the time its sender gave it." : `Canceled ${ago(job.finished_at, now.value)}.`;
}

function JobErrorBox({ job }: { job: Job }): JSX.Element {
  const last = job.state === "waiting" ? "The last attempt failed: " : "";
  return (
    <section class="notice bad" aria-label="Error">
      <b>
        {last}
        {job.error!.code}
      </b>
      <pre tabIndex={0} dir="auto">
        {job.error!.message}
      </pre>
      {job.fingerprint && <a href={href(["failures", job.fingerprint])}>Others that failed like this</a>}
    </section>
  );
}

function Inputs({ job }: { job: Job }): JSX.Element {
  const model = catalog.value.find((one) => one.name === job.model);
  return (
    <figure class="side">
      <figcaption>Inputs</figcaption>
      {Object.entries(job.inputs).map(([name, input]) => (
        <div key={name}>
          {"json" in input ? (
            <JsonView value={input.json} label={name} />
          ) : (
            <Media name={name} address={inputAddress(job.id, name)} kind={model?.inputs[name]?.kind} />
          )}
          <p class="muted under" dir="auto">
            {name} {input.uri?.startsWith("https:") ? input.uri.split("?")[0] : ""}
          </p>
        </div>
      ))}
      {Object.keys(job.params).length > 0 && (
        <>
          <h3>Params</h3>
          <JsonView value={job.params} label="params" />
        </>
      )}
    </figure>
  );
}

function Outputs({ job }: { job: Job }): JSX.Element {
  const outputs = Object.entries(job.outputs);
  return (
    <figure class="side">
      <figcaption>Outputs</figcaption>
      {outputs.length === 0 && <div class="media empty">{ended(job.state) ? "No output." : "Nothing yet."}</div>}
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

/** Its id is in the logs too; a link where the gateway knows who shows traces. */
function TraceOf({ job }: { job: Job }): JSX.Element {
  if (!job.trace) return <>{NONE}</>;
  const id = <code class="id">{job.trace.id}</code>;
  return (
    <>
      {job.urls["trace"] ? (
        <a href={job.urls["trace"]} target="_blank" rel="noreferrer">
          {id}
        </a>
      ) : (
        id
      )}{" "}
      <CopyButton text={job.trace.id} what="trace's id" />
    </>
  );
}

function Facts({ job }: { job: Job }): JSX.Element {
  const facts: [string, JSX.Element | string][] = [
    ["Queue", <a href={href(["jobs"], { queue: job.queue })}>{job.queue}</a>],
    ["Priority", String(job.priority)],
    ["Created", absolute(job.created_at)],
    ["Not before", absolute(job.run_at)],
    ["Queued", absolute(job.queued_at)],
    ["Started", absolute(job.started_at)],
    ["Finished", absolute(job.finished_at)],
    ["Worker", job.worker ? <a href={href(["jobs"], { worker: job.worker })}>{job.worker}</a> : NONE],
    ["Trace", <TraceOf job={job} />],
    ["Retry of", job.retry_of ? <a href={href(["jobs", job.retry_of])}>{job.retry_of}</a> : NONE],
  ];
  return (
    <section aria-label="Facts">
      <h2>Facts</h2>
      <dl class="facts">
        {facts.map(([name, value]) => (
          <div key={name}>
            <dt>{name}</dt>
            <dd dir="auto">{value}</dd>
          </div>
        ))}
      </dl>
      {Object.keys(job.metadata).length > 0 && (
        <>
          <h3>Metadata</h3>
          <JsonView value={job.metadata} label="metadata" />
        </>
      )}
    </section>
  );
}
