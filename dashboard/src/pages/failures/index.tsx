/** Failures: what broke, since when? */

import type { JSX } from "preact";
import { listFailures, readFailure, retryJob } from "../../api/jobs.ts";
import type { FailureDetail, FailureGroup, FailuresPage, Named } from "../../api/types.ts";
import type { PageProps } from "../../app.tsx";
import { absolute, count, duration } from "../../format.ts";
import { useLive } from "../../live/socket.ts";
import { Ago, Blank, Clipped, CopyButton, Loaded } from "../../parts/basics.tsx";
import { runBulk } from "../../parts/bulk.tsx";
import { Sparkline } from "../../parts/chart.tsx";
import { useResource } from "../../parts/resource.ts";
import { Table, type Column } from "../../parts/table.tsx";
import { act } from "../../parts/toasts.tsx";
import { go, href, route, setQuery } from "../../router.ts";
import { operates } from "../../session.ts";
import { COLUMNS as JOB_COLUMNS } from "../jobs/columns.tsx";

const RANGES: Record<string, string> = { 3600: "1 h", 86400: "24 h", 604800: "7 d", 2592000: "30 d" };

type Query = Record<string, string | null>;

function asked(): Query {
  const query = route.value.query;
  const scope = operates() && query.get("scope") === "all" ? "all" : null;
  return { since_s: query.get("since") ?? "86400", model: query.get("model"), queue: query.get("queue"), scope };
}

export function Failures({ rest }: PageProps): JSX.Element {
  return rest[0] ? <Group key={rest[0]} fingerprint={rest[0]} /> : <Groups />;
}

function Groups(): JSX.Element {
  const query = asked();
  const groups = useResource((abort) => listFailures(query, abort), [JSON.stringify(query)]);
  useLive([], () => undefined, () => void groups.reload());
  return (
    <>
      <div class="title">
        <h1>Failures</h1>
        <Range />
        {query["model"] && (
          <button type="button" onClick={() => setQuery({ model: null })}>
            of {query["model"]} ×
          </button>
        )}
        <button type="button" class="quiet" onClick={() => void groups.reload()}>
          Read again
        </button>
      </div>
      <Loaded of={groups}>{(page) => (page.groups.length ? <Found page={page} /> : <None filtered={query["model"] !== null} />)}</Loaded>
    </>
  );
}

function Range(): JSX.Element {
  return (
    <label class="inline">
      over the last{" "}
      <select value={route.value.query.get("since") ?? "86400"} onChange={(event) => setQuery({ since: event.currentTarget.value })}>
        {Object.entries(RANGES).map(([seconds, text]) => (
          <option key={seconds} value={seconds}>
            {text}
          </option>
        ))}
      </select>
    </label>
  );
}

function None({ filtered }: { filtered: boolean }): JSX.Element {
  return (
    <Blank title={filtered ? "No failure matches" : "Nothing failed in this time"}>
      {filtered && (
        <button type="button" onClick={() => go(["failures"])}>
          Clear filters
        </button>
      )}
    </Blank>
  );
}

const names = (of: Named[]): string => of.map(({ name }) => name).join(", ");

const COLUMNS: Column<FailureGroup>[] = [
  { name: "count", label: "Jobs", right: true, first: true, cell: (group) => <b>{count(group.count)}</b> },
  { name: "points", label: "When", cell: (group) => <Sparkline points={group.points} label={`${group.count} failures over time`} /> },
  { name: "code", label: "Code", first: true, cell: (group) => <a href={href(["failures", group.fingerprint])}>{group.code}</a> },
  { name: "message", label: "Message", wide: true, cell: (group) => <Clipped text={`${group.type ? `${group.type}: ` : ""}${group.message}`} /> },
  { name: "models", label: "Models", cell: (group) => <Clipped text={names(group.models)} /> },
  { name: "workers", label: "Workers", cell: (group) => <Clipped text={names(group.workers)} /> },
  { name: "first", label: "First", right: true, cell: (group) => <Ago at={group.first_at} /> },
  { name: "last", label: "Last", right: true, first: true, cell: (group) => <Ago at={group.last_at} /> },
];

function Found({ page }: { page: FailuresPage }): JSX.Element {
  return (
    <>
      {page.more && <p class="notice">Counted are the newest failures only: there were more in this time.</p>}
      <Table label="Failures" columns={COLUMNS} rows={page.groups} name={(group) => group.fingerprint} open={(group) => go(["failures", group.fingerprint])} />
    </>
  );
}

function Group({ fingerprint }: { fingerprint: string }): JSX.Element {
  const query = asked();
  const group = useResource((abort) => readFailure(fingerprint, { since_s: query["since_s"], scope: query["scope"] }, abort), [fingerprint, query["since_s"]]);
  return <Loaded of={group}>{(detail) => <Shown group={detail} done={() => void group.reload()} />}</Loaded>;
}

function Shown({ group, done }: { group: FailureDetail; done: () => void }): JSX.Element {
  return (
    <>
      <div class="title">
        <h1>
          {count(group.count)} × {group.code} {group.type && <span class="muted">{group.type}</span>}
        </h1>
        <Range />
        <Actions group={group} done={done} />
      </div>
      <pre tabIndex={0} dir="auto">{group.message}</pre>
      <dl class="facts">
        <Fact name="First" text={absolute(group.first_at)} />
        <Fact name="Last" text={absolute(group.last_at)} />
        <Fact name="Models" text={counted(group.models)} />
        <Fact name="Queues" text={counted(group.queues)} />
        <Fact name="Workers" text={counted(group.workers)} />
      </dl>
      <figure class="wide-spark">
        <Sparkline points={group.points} label="Failures over time" />
        <figcaption class="muted">a point is {duration(group.bucket_s)}</figcaption>
      </figure>
      <h2>
        One of them <a class="id" href={href(["jobs", group.sample_job])}>{group.sample_job}</a>
      </h2>
      {group.traceback ? (
        <>
          <pre tabIndex={0} aria-label="Traceback">{group.traceback}</pre>
          <CopyButton text={group.traceback} what="traceback" />
        </>
      ) : (
        <p class="muted">It left no traceback.</p>
      )}
      <h2>The newest</h2>
      <Table label="Jobs of this failure" columns={JOB_COLUMNS} rows={group.jobs} name={(job) => job.id} open={(job) => go(["jobs", job.id])} />
    </>
  );
}

const counted = (of: Named[]): string => of.map(({ name, count: n }) => `${name} (${count(n)})`).join(", ") || "—";

function Fact({ name, text }: { name: string; text: string }): JSX.Element {
  return (
    <div>
      <dt>{name}</dt>
      <dd dir="auto">{text}</dd>
    </div>
  );
}

/** One first, then the rest: whether it is mended is seen on one. */
function Actions({ group, done }: { group: FailureDetail; done: () => void }): JSX.Element {
  const one = (): void => {
    void act("A new job was made", async () => {
      const made = await retryJob(group.sample_job);
      go(["jobs", made.id]);
    });
  };
  return (
    <div class="actions" data-actions>
      <button type="button" class="primary" onClick={one}>
        Retry one
      </button>
      <button type="button" onClick={() => void runBulk("retry", group.filter, "failed").then(done)}>
        Retry {count(group.count)} failed
      </button>
      <a class="button" href={href(["jobs"], { state: "failed", error: group.code })}>
        As a list
      </a>
    </div>
  );
}
