/** Failures: what broke, since when? */

import { useSignal } from "@preact/signals";
import type { JSX } from "preact";
import { listFailures, readFailure, retryJob } from "../../api/jobs.ts";
import type { BulkFilter, FailureDetail, FailureGroup, FailuresPage, Named } from "../../api/types.ts";
import type { PageProps } from "../../app.tsx";
import { absolute, count, duration, plural } from "../../format.ts";
import { useLive } from "../../live/socket.ts";
import { Ago, Blank, Clipped, CopyButton, Loaded } from "../../parts/basics.tsx";
import { runBulk } from "../../parts/bulk.tsx";
import { Sparkline } from "../../parts/chart.tsx";
import { usePolled, useResource } from "../../parts/resource.ts";
import { Table, type Column } from "../../parts/table.tsx";
import { act } from "../../parts/toasts.tsx";
import { lately } from "../../query/query.ts";
import { go, href, route, setQuery } from "../../router.ts";
import { operates } from "../../session.ts";
import { COLUMNS as JOB_COLUMNS } from "../jobs/columns.tsx";

const RANGES: Record<string, string> = { 600: "10 min", 3600: "1 h", 86400: "24 h", 604800: "7 d", 2592000: "30 d" };
const FILTERS = ["model", "queue", "error"] as const;
/** The live socket tells nothing of groups. */
const POLL_MS = 10_000;

type Query = Record<string, string | null>;

function asked(): Query {
  const query = route.value.query;
  return { since_s: windowOf(), scope: scopeOf(), ...Object.fromEntries(FILTERS.map((name) => [name, query.get(name)])) };
}

const windowOf = (): string => route.value.query.get("since") ?? "86400";
const scopeOf = (): string | null => (operates() && route.value.query.get("scope") === "all" ? "all" : null);

/** Where one group is, over the same window and of the same tenants. */
const groupAt = (fingerprint: string): string => href(["failures", fingerprint], { since: route.value.query.get("since"), scope: scopeOf() });

/** The jobs that a number of a group counts: by how and when they failed. */
const jobsAt = (fingerprint: string, more: Record<string, string> = {}): string =>
  href(["jobs"], { state: "failed,expired", fingerprint, ended: lately(Number(windowOf())), scope: scopeOf(), ...more });

export function Failures({ rest }: PageProps): JSX.Element {
  return rest[0] ? <Group key={rest[0]} fingerprint={rest[0]} /> : <Groups />;
}

function Groups(): JSX.Element {
  const query = asked();
  const groups = useResource((abort) => listFailures(query, abort), [JSON.stringify(query)]);
  useLive([], () => undefined, () => void groups.reload());
  usePolled(groups, POLL_MS);
  const said = FILTERS.filter((name) => query[name]);
  return (
    <>
      <div class="title">
        <h1>Failures</h1>
        <Range />
        {said.map((name) => (
          <button key={name} type="button" onClick={() => setQuery({ [name]: null })}>
            {name} {query[name]} ×
          </button>
        ))}
        <button type="button" class="quiet" title="Read every 10 s while you look, and now" onClick={() => void groups.reload()}>
          Read again
        </button>
      </div>
      <Loaded of={groups}>{(page) => (page.groups.length ? <Found key={JSON.stringify(query)} page={page} /> : <None filtered={said.length > 0} />)}</Loaded>
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
  { name: "count", label: "Jobs", right: true, first: true, cell: (group) => <a href={jobsAt(group.fingerprint)}><b>{count(group.count)}</b></a> },
  { name: "open", label: "Open", right: true, cell: (group) => <a href={jobsAt(group.fingerprint, { retried: "no" })}>{count(group.open)}</a> },
  { name: "points", label: "When", cell: (group) => <Sparkline points={group.points} label={`${group.count} failures over time`} /> },
  { name: "code", label: "Code", first: true, cell: (group) => <a href={groupAt(group.fingerprint)}>{group.code}</a> },
  { name: "message", label: "Message", wide: true, cell: (group) => <Clipped text={`${group.type ? `${group.type}: ` : ""}${group.message}`} /> },
  { name: "models", label: "Models", cell: (group) => <Clipped text={names(group.models)} /> },
  { name: "workers", label: "Workers", cell: (group) => <Clipped text={names(group.workers)} /> },
  { name: "first", label: "First", right: true, cell: (group) => <Ago at={group.first_at} /> },
  { name: "last", label: "Last", right: true, first: true, cell: (group) => <Ago at={group.last_at} /> },
];

const places = (page: FailuresPage): string[] => page.groups.map((group) => group.fingerprint);

/** Rows keep their places while they are read anew; what is new is counted until somebody wants it. */
function Found({ page }: { page: FailuresPage }): JSX.Element {
  const order = useSignal(places(page));
  const known = new Map(page.groups.map((group) => [group.fingerprint, group]));
  const rows = order.value.flatMap((name) => known.get(name) ?? []);
  const fresh = page.groups.length - rows.length;
  return (
    <>
      <p class="muted">
        Each line begins <Ago at={page.since} />.
      </p>
      {page.more && <p class="notice">Counted are the newest failures only: there were more in this time.</p>}
      {fresh > 0 && (
        <button type="button" class="pill" onClick={() => (order.value = places(page))}>
          {plural(fresh, "new kind")} of failure
        </button>
      )}
      <Table label="Failures" columns={COLUMNS} rows={rows} name={(group) => group.fingerprint} open={(group) => (location.hash = groupAt(group.fingerprint))} />
    </>
  );
}

function Group({ fingerprint }: { fingerprint: string }): JSX.Element {
  const query = asked();
  const group = useResource(
    (abort) => readFailure(fingerprint, { since_s: query["since_s"], scope: query["scope"] }, abort),
    [fingerprint, query["since_s"], query["scope"]],
  );
  useLive([], () => undefined, () => void group.reload());
  usePolled(group, POLL_MS);
  return <Loaded of={group}>{(detail) => <Shown group={detail} done={() => void group.reload()} />}</Loaded>;
}

function Shown({ group, done }: { group: FailureDetail; done: () => void }): JSX.Element {
  return (
    <>
      <div class="title">
        <h1>
          <a href={jobsAt(group.fingerprint)}>{count(group.count)}</a> × {group.code} {group.type && <span class="muted">{group.type}</span>}
        </h1>
        <Range />
        <Actions group={group} done={done} />
      </div>
      <pre tabIndex={0} dir="auto">{group.message}</pre>
      <dl class="facts">
        <div>
          <dt>Retried</dt>
          <dd>
            <a href={jobsAt(group.fingerprint, { retried: "yes" })}>{count(group.retried)}</a> of them, <a href={jobsAt(group.fingerprint, { retried: "no" })}>{count(group.open)} open</a>
          </dd>
        </div>
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
      const made = await retryJob(group.open_job ?? group.sample_job);
      go(["jobs", made.id]);
    });
  };
  const many: BulkFilter = { ...group.filter, retried: "no", ended: lately(Number(windowOf())), ...(scopeOf() ? { scope: "all" } : {}) };
  return (
    <div class="actions" data-actions>
      <button type="button" class="primary" disabled={!group.open} title={group.open ? "The newest that was not retried" : "All were retried"} onClick={one}>
        Retry one
      </button>
      <button type="button" disabled={!group.open} onClick={() => void runBulk("retry", many, "failed").then(done)}>
        Retry {count(group.open)} failed
      </button>
      <a class="button" href={jobsAt(group.fingerprint)}>
        As a list
      </a>
    </div>
  );
}
