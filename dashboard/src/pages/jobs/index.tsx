/** Jobs: where is mine? */

import { signal, useSignal, type Signal } from "@preact/signals";
import type { JSX } from "preact";
import { useEffect, useMemo } from "preact/hooks";
import { countJobs, listJobs } from "../../api/jobs.ts";
import type { BulkFilter, JobCounts, JobRow, JobsPage, State } from "../../api/types.ts";
import { apply } from "../../live/coalesce.ts";
import { useLive } from "../../live/socket.ts";
import { absolute, count, plural } from "../../format.ts";
import { Blank, Loaded, Snippet, Tabs } from "../../parts/basics.tsx";
import { useResource } from "../../parts/resource.ts";
import { Table } from "../../parts/table.tsx";
import { address } from "../../api/client.ts";
import { parameters, QUALIFIERS, STATES, type Filter } from "../../query/query.ts";
import { go, route, setQuery } from "../../router.ts";
import { operates } from "../../session.ts";
import { BulkBar } from "./bulkbar.tsx";
import { COLUMNS } from "./columns.tsx";
import { QueryBar } from "./querybar.tsx";

const PAGE = 50;
const COUNTS_MS = 10_000;

export function filterOf(query: URLSearchParams): Filter {
  return Object.fromEntries(QUALIFIERS.filter((name) => query.get(name)).map((name) => [name, query.get(name)!]));
}

function useCounts(key: string, wanted: Record<string, string | string[]>): Signal<JobCounts | null> {
  const counts = useResource((abort) => countJobs({ ...wanted, state: null }, abort), [key]);
  useEffect(() => {
    const timer = setInterval(() => void (document.hidden || counts.reload()), COUNTS_MS);
    return () => clearInterval(timer);
  }, [counts]);
  return counts.data;
}

export function Jobs(): JSX.Element {
  const query = route.value.query;
  const filter = filterOf(query);
  const scope = operates() && query.get("scope") === "all" ? "all" : null;
  const wanted: Record<string, string | string[]> = { ...parameters(filter), ...(scope ? { scope } : {}) };
  const cursor = query.get("cursor");
  const key = JSON.stringify([wanted, cursor]);
  const page = useResource((abort) => listJobs({ ...wanted, cursor, limit: PAGE }, abort), [key]);
  const counts = useCounts(JSON.stringify({ ...wanted, state: null }), wanted);
  const selection = useSelection(key, page);
  const fresh = useFresh(page, key, cursor === null, scope === "all");
  return (
    <>
      <div class="title">
        <h1>Jobs</h1>
        {operates() && (
          <label class="inline">
            <input type="checkbox" checked={scope === "all"} onChange={(event) => setQuery({ scope: event.currentTarget.checked ? "all" : null, cursor: null })} /> all tenants
          </label>
        )}
      </div>
      <QueryBar filter={filter} />
      <StateTabs counts={counts.value} current={filter.state ?? ""} />
      <BulkBar filter={wanted as BulkFilter} filtered={Object.keys(filter).length > 0} selection={selection} rows={page.data.value?.jobs ?? []} counts={counts.value} done={() => void page.reload()} />
      {fresh.value > 0 && (
        <button type="button" class="pill" onClick={() => void page.reload()}>
          {fresh.value >= 1000 ? "1000+ new jobs" : plural(fresh.value, "new job")}
          {Object.keys(filter).length > 0 && ", before the filter"}
        </button>
      )}
      <Loaded of={page} rows={14}>
        {(found) => <Found page={found} filter={filter} selection={selection} />}
      </Loaded>
    </>
  );
}

let kept = { key: "", selection: signal<ReadonlySet<string>>(new Set()) };

/** Of this filter and page, so that it is still there when somebody comes back from a job; only what is shown is selected. */
function useSelection(key: string, page: ReturnType<typeof useResource<JobsPage>>): Signal<ReadonlySet<string>> {
  if (kept.key !== key) kept = { key, selection: signal(new Set()) };
  const { selection } = kept;
  const shown = page.data.value;
  useEffect(() => {
    if (!shown || !selection.peek().size) return;
    const there = shown.jobs.map((job) => job.id).filter((id) => selection.peek().has(id));
    if (there.length < selection.peek().size) selection.value = new Set(there);
  }, [shown]);
  return selection;
}

/** The id that a job made at this moment would begin with: ids rise with time. */
function idAt(moment: string): string {
  const stamp = Date.parse(moment).toString(16).padStart(12, "0");
  return `${stamp.slice(0, 8)}-${stamp.slice(8)}-7000-8000-000000000000`;
}

/** Keep the rows current where they stand; what is new is only counted until somebody wants it. */
function useFresh(page: ReturnType<typeof useResource<JobsPage>>, key: string, newest: boolean, everybody: boolean): Signal<number> {
  const fresh = useMemo(() => signal(0), [key]);
  const shown = page.data.value;
  const ids = shown?.jobs.map((job) => job.id) ?? [];
  const since = shown && newest ? idAt(shown.server_time) : undefined;
  useEffect(() => void (fresh.value = 0), [since]);
  useLive(
    ["jobs"],
    (frame) => {
      const known = page.data.peek();
      if (known && frame.jobs?.length) page.data.value = { ...known, jobs: apply("jobs", known.jobs, frame, { grow: false }) };
      if (frame.new_jobs !== undefined && newest) fresh.value = frame.new_jobs;
    },
    () => void refresh(page, everybody),
    { ids, newest: since, everybody },
  );
  return fresh;
}

/** After a gap: the rows that are shown, as they are now, in the order in which they stand. */
async function refresh(page: ReturnType<typeof useResource<JobsPage>>, everybody: boolean): Promise<void> {
  const known = page.data.peek();
  if (!known) return page.reload();
  const found = known.jobs.length ? await listJobs({ id: known.jobs.map((job) => job.id), scope: everybody ? "all" : null, limit: 200 }).catch(() => null) : null;
  const now = page.data.peek();
  if (found && now) page.data.value = { ...now, jobs: apply("jobs", now.jobs, { seq: 0, at: "", jobs: found.jobs }, { grow: false }) };
}

function StateTabs({ counts, current }: { counts: JobCounts | null; current: string }): JSX.Element {
  const total = (name: State): string => (counts?.[name] ? count(counts[name].n, counts[name].more) : "");
  const tabs = [{ name: "", text: <>All</> }, ...STATES.map((name) => ({ name: name as string, text: <>{name} <small>{total(name)}</small></> }))];
  return <Tabs label="State" tabs={tabs} current={current} choose={(name) => setQuery({ state: name || null, cursor: null })} />;
}

function Found({ page, filter, selection }: { page: JobsPage; filter: Filter; selection: Signal<ReadonlySet<string>> }): JSX.Element {
  const hovering = useSignal(false);
  if (!page.jobs.length && !page.next_cursor) return <Nothing filtered={Object.keys(filter).length > 0} paged={route.value.query.has("cursor")} />;
  return (
    <>
      {page.searched_to && <p class="notice">Looked back to {absolute(page.searched_to)}; older ones are on the next page.</p>}
      <Table label="Jobs" columns={COLUMNS} rows={page.jobs} name={(job: JobRow) => job.id} open={(job) => go(["jobs", job.id])} selection={selection} hovering={hovering} />
      <nav class="pages" aria-label="Pages of jobs">
        {route.value.query.has("cursor") && (
          <button type="button" onClick={() => setQuery({ cursor: null })}>
            Newest
          </button>
        )}
        {page.next_cursor && (
          <button type="button" onClick={() => setQuery({ cursor: page.next_cursor })}>
            {page.searched_to ? "Search further" : "Older"}
          </button>
        )}
      </nav>
    </>
  );
}

function Nothing({ filtered, paged }: { filtered: boolean; paged: boolean }): JSX.Element {
  if (filtered || paged) {
    return (
      <Blank title="No job matches">
        <button type="button" onClick={() => go(["jobs"])}>
          Clear filters
        </button>
      </Blank>
    );
  }
  return (
    <Blank title="No jobs yet">
      <p>The first one, in one line:</p>
      <Snippet what="curl line" text={`curl -H "Authorization: Bearer $LEVERET_API_KEY" -F model=cutout -F image=@face.jpg ${address("v1/jobs").href}`} />
    </Blank>
  );
}
