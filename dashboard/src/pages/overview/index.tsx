/** Overview: healthy? if not, why? */

import type { JSX } from "preact";
import { readOverview } from "../../api/operations.ts";
import type { Finding, Overview as Told, Stat } from "../../api/types.ts";
import { dimmed, useLive } from "../../live/socket.ts";
import { absolute, count, duration, money, NONE, percent, rate } from "../../format.ts";
import { Ago, Clipped, Loaded, Snippet } from "../../parts/basics.tsx";
import { Sparkline } from "../../parts/chart.tsx";
import { Over } from "../../parts/history.tsx";
import { useResource } from "../../parts/resource.ts";
import { Mark } from "../../parts/state.tsx";
import { href } from "../../router.ts";
import { currencyOf } from "../../session.ts";

export function Overview(): JSX.Element {
  const told = useResource(readOverview, []);
  useLive(
    ["overview"],
    (frame) => {
      if (frame.overview) told.data.value = frame.overview as Told;
    },
    () => void told.reload(),
  );
  return <Loaded of={told}>{(overview) => <Shown overview={overview} />}</Loaded>;
}

function Shown({ overview }: { overview: Told }): JSX.Element {
  const stats = STATS.filter(({ name }) => overview.stats[name] && (overview.scope === "all" || !OPERATORS.has(name)));
  return (
    <>
      <Health finding={overview.health} at={overview.at} scope={scopeOf(overview)} />
      {overview.findings.length > 0 && (
        <ul class="findings">
          {overview.findings.map((finding) => (
            <li key={finding.code + finding.subject}>
              <LevelMark level={finding.level} /> <a href={pageOf(finding, scopeOf(overview))}>{finding.sentence}</a> <span class="muted">{finding.cause}</span>
            </li>
          ))}
        </ul>
      )}
      <div class="stats">
        {stats.map((each) => (
          <Tile key={each.name} {...each} to={withScope(each.to, scopeOf(overview))} stat={overview.stats[each.name]!} n={overview.n[each.name]} window_s={overview.window_s} minutes={Math.round((overview.step_s * (overview.stats[each.name]!.points.length || 1)) / 60)} />
        ))}
      </div>
      <div class="columns">
        <Backlog overview={overview} />
        <Errors overview={overview} />
        {overview.scope === "all" && <Unwell overview={overview} />}
        {overview.scope === "all" && <Decisions overview={overview} />}
      </div>
      <Over />
    </>
  );
}

const LEVELS = { ok: "succeeded", warn: "retrying", bad: "failed", unknown: "scheduled" } as const;

function LevelMark({ level }: { level: Finding["level"] }): JSX.Element {
  return <Mark state={LEVELS[level] ?? "scheduled"} />;
}

type Scope = "all" | null;

/** What counts every tenant's jobs leads to every tenant's. */
const scopeOf = (overview: Told): Scope => (overview.scope === "all" ? "all" : null);

function pageOf(finding: Finding, scope: Scope): string {
  if (!finding.page || finding.page === "overview") return href([]);
  if (finding.page === "failures") return href(finding.subject ? ["failures", finding.subject] : ["failures"], { since: 3600, scope });
  return href([finding.page], finding.subject && ["queues", "workers", "scaler"].includes(finding.page) ? { at: finding.subject } : {});
}

/** While nothing is heard it is what was true then, and no colour says that it is now. */
function Health({ finding, at, scope }: { finding: Finding; at: string; scope: Scope }): JSX.Element {
  const level = dimmed.value ? "unknown" : finding.level;
  return (
    <section class={`health health-${level}`} aria-label="Health">
      <h1>
        <LevelMark level={level} /> {dimmed.value && <time dateTime={at}>As of {absolute(at).slice(11, 19)}:</time>} <a href={pageOf(finding, scope)}>{finding.sentence}</a>
      </h1>
      {finding.cause && <p dir="auto">{finding.cause}</p>}
      {finding.command && <Snippet text={finding.command} what="command" />}
    </section>
  );
}

interface Shape {
  name: string;
  label: string;
  format: (value: number | null, currency: string) => string;
  /** Its page, and the filter that finds what it counts. */
  to: [string, Record<string, string>?];
}

const JOB_PAGES = new Set(["jobs", "failures", "models"]);
const withScope = ([page, query]: Shape["to"], scope: Scope): string => href([page], { ...query, scope: JOB_PAGES.has(page) ? scope : null });

/** What is missing where a number is. */
const MISSING: Record<string, string | undefined> = { cost_per_h: "prices are a setting" };

const OPERATORS = new Set(["devices_busy", "cost_per_h"]);
const STATS: Shape[] = [
  { name: "arrivals_per_s", label: "Arrivals", format: (value) => rate(value), to: ["jobs", { age: "<1m" }] },
  { name: "completions_per_s", label: "Completions", format: (value) => rate(value), to: ["jobs", { state: "succeeded,failed,canceled", ended: "<1m" }] },
  { name: "oldest_wait_s", label: "Oldest wait", format: duration, to: ["jobs", { state: "queued" }] },
  { name: "p95_wait_s", label: "Wait, p95", format: duration, to: ["models", { window: "600" }] },
  { name: "failure_ratio", label: "Jobs failed", format: percent, to: ["failures", { since: "600" }] },
  { name: "devices_busy", label: "Devices busy", format: (value) => count(value), to: ["workers"] },
  { name: "cost_per_h", label: "Cost", format: (value, currency) => `${money(value, currency)}/h`, to: ["scaler"] },
];

const RATES = new Set(["arrivals_per_s", "completions_per_s"]);

function Tile({ name, label, format, to, stat, n, window_s, minutes }: Omit<Shape, "to"> & { to: string; stat: Stat; n: number | undefined; window_s: number; minutes: number }): JSX.Element {
  const total = "total" in stat ? `/${count(stat.total)}` : "";
  return (
    <a class="tile" href={to}>
      <span class="muted">
        {label} <small title={stat.value === null && MISSING[name] ? "LEVERET_SCALER_PRICE_PER_HOUR or LEVERET_SCALER_OFFERINGS; docs/cost.md" : undefined}>{stat.value === null && MISSING[name] ? MISSING[name] : n !== undefined ? `n = ${count(n)} in ${duration(window_s)}` : RATES.has(name) ? `over ${duration(window_s)}` : ""}</small>
      </span>
      <b class="value">
        {stat.value === null ? NONE : format(stat.value, stat.currency ?? currencyOf())}
        {stat.value === null ? "" : total}
      </b>
      <Sparkline points={stat.points} label={`${label}, the last ${minutes} min`} />
    </a>
  );
}

function Backlog({ overview }: { overview: Told }): JSX.Element {
  const most = Math.max(1, ...overview.backlog.map((row) => row.waiting + row.running));
  const jobs = (query: Record<string, string | number>): string => href(["jobs"], { ...query, scope: scopeOf(overview) });
  return (
    <section aria-label="Backlog">
      <h2>
        Backlog{" "}
        <span class="muted">
          <a href={jobs({ state: "queued" })}>{count(overview.totals.waiting)} waiting</a> · <a href={jobs({ state: "running" })}>{count(overview.totals.running)} running</a> · <a href={jobs({ state: "waiting" })}>{count(overview.totals.scheduled)} scheduled</a>
        </span>
      </h2>
      {overview.backlog.length === 0 && <p class="muted">Nothing waits.</p>}
      <ul class="bars">
        {overview.backlog.slice(0, 12).map((row) => (
          <li key={`${row.queue}/${row.priority}`}>
            <a href={jobs({ queue: row.queue, priority: row.priority, state: "queued,running" })}>
              <Clipped text={`${row.queue} · ${row.priority}`} />
            </a>
            <span class="split" aria-hidden="true">
              <i class="waiting" style={{ width: `${(row.waiting / most) * 100}%` }} />
              <i class="running" style={{ width: `${(row.running / most) * 100}%` }} />
            </span>
            <span class="right">
              <a href={jobs({ queue: row.queue, priority: row.priority, state: "queued" })}>{count(row.waiting)}</a>{" "}
              <span class="muted">+ <a href={jobs({ queue: row.queue, priority: row.priority, state: "running" })}>{count(row.running)} running</a> · oldest {duration(row.oldest_s)}</span>
            </span>
          </li>
        ))}
      </ul>
    </section>
  );
}

function Errors({ overview }: { overview: Told }): JSX.Element {
  return (
    <section aria-label="Top errors">
      <h2>
        Top errors <span class="muted">last hour: jobs failed, attempts retried</span>
      </h2>
      {overview.errors.length === 0 && <p class="muted">None.</p>}
      <ul class="lines">
        {overview.errors.map((error) => (
          <li key={error.code + error.model}>
            <Mark state={error.count ? "failed" : "retrying"} />
            {error.count > 0 && (
              <a href={href(["jobs"], { state: "failed", error: error.code, model: error.model, ended: "<1h", scope: scopeOf(overview) })}>
                <b>{count(error.count)}</b>
              </a>
            )}
            <a href={error.count ? href(["failures"], { since: 3600, error: error.code, model: error.model, scope: scopeOf(overview) }) : href(["models", error.model])}>
              {error.code} <span class="muted">in</span> {error.model}
            </a>
            {error.retried > 0 && <span title="Attempts that failed so and were repeated: their jobs are not in the number before">{count(error.retried)} retried</span>}
            <Clipped text={`${error.message && error.count + error.retried > 1 ? "newest: " : ""}${error.message ?? ""}`} class="muted" />
            <Ago at={error.last_at} />
          </li>
        ))}
      </ul>
    </section>
  );
}

function Unwell({ overview }: { overview: Told }): JSX.Element {
  return (
    <section aria-label="Workers that are not well">
      <h2>Workers that are not well</h2>
      {overview.unwell.length === 0 && <p class="muted">None.</p>}
      <ul class="lines">
        {overview.unwell.map((worker) => (
          <li key={worker.id}>
            <Mark state={worker.why === "draining" ? "draining" : "failed"} />
            <a href={href(["workers"], { at: worker.id })}>{worker.id}</a>
            <Clipped text={worker.sentence} />
            {worker.jobs.slice(0, 2).map((job) => (
              <a key={job} class="id" href={href(["jobs", job])}>
                {job.slice(-6)}
              </a>
            ))}
          </li>
        ))}
      </ul>
    </section>
  );
}

function Decisions({ overview }: { overview: Told }): JSX.Element {
  return (
    <section aria-label="The scaler's last decisions">
      <h2>
        <a href={href(["scaler"])}>Scaler, last decisions</a>
      </h2>
      {overview.decisions.length === 0 && <p class="muted">None yet.</p>}
      <ul class="lines">
        {overview.decisions.map((decision) => (
          <li key={decision.id}>
            <a href={href(["scaler"], { queue: decision.queue })}>{decision.queue}</a>
            <b>
              {count(decision.have)} → {count(decision.want)}
            </b>
            <Clipped text={decision.reason} class="muted" />
            <Ago at={decision.at} />
          </li>
        ))}
      </ul>
    </section>
  );
}
